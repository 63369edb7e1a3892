"""SQL for people, and for whoever has a browser: one reading statement at a time, within limits.

Three walls, each enough against most attacks:

* `statements` parses the query and lets only what is listed through: kinds of query, tables, functions;
* `sandbox` opens DuckDB with no file but the parts of the named experiments, no extension and a locked configuration;
* `server` runs each query of the page in a process of its own, forked for it, without the caller's environment, with
  memory, processor time and file size limited by the kernel, and killed by it at the deadline.

The last wall is needed: DuckDB 2.0 forgets its memory limit and its interrupt inside one call of a function
(``repeat('x', 3000000000)``: 2.9 GB and 25 s with a limit of 256 MB and an interrupt after 2 s; ``levenshtein`` of two
long texts: no end).
"""
