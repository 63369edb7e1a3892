"""Where everything an experiment makes lives; the only place that knows paths and file layout.

``$SELFEXPLORE_HOME`` holds (of a store on S3 it is a URL, and this the working copy of a machine, see `shared`)::

    experiments/<slug>.json                                   recipe, overrides, versions; written once
    tables/<table>/experiment=<slug>/round=<NNN>/part-*.parquet
    manifests/<slug>/round=<NNN>/<stage>.json                 written last: the commit marker
    models/<slug>/round=<NNN>/{base,sft,rft,policy}/          weights, tokenizer, training log
    locks/<slug>/                                             one lock file per live stage
    console/<hash of a user>.jsonl                            what was asked in the SQL console
    selfexplore.duckdb, catalogue/                            the views, for any DuckDB to open read-only

Invariants: parquet is the truth; a part is written under a temporary name, fsynced and renamed; readers trust
only parts that a manifest names; a manifest appears after everything it names is on disk.
"""
