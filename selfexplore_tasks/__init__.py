"""Self-Explore (arXiv 2404.10346): find the first wrong step of a model's own solutions and learn from it.

The library behind the Dags and the ``selfexplore`` command. It never imports airflow, and importing it
imports neither torch nor vllm nor trl: those load inside the stage that needs them.
"""

__version__ = "0.1.0"
