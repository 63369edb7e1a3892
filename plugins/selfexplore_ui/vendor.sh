#!/usr/bin/env bash
# Fetch the chart library again, as static/vendor/README.md lists it. Needs npm; run it only to change a version.
set -euo pipefail
cd "$(dirname "$0")/static/vendor"

packages=("@observablehq/plot@0.6.17" "d3@7.9.2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for package in "${packages[@]}"; do
    name=$(basename "${package%@*}")
    mkdir "$scratch/$name"
    npm pack --silent --pack-destination "$scratch/$name" "$package" >/dev/null
    tar --extract --gzip --file "$scratch/$name"/*.tgz --directory "$scratch/$name" --strip-components 1
    cp "$scratch/$name/LICENSE" "$name.LICENSE"
done
cp "$scratch/d3/dist/d3.min.js" d3.min.js
cp "$scratch/plot/dist/plot.umd.min.js" plot.umd.min.js
sha256sum ./*.js ./*.LICENSE | sed 's|\./||'
