"""The Self-Explore page in Airflow's UI: a FastAPI app over `selfexplore_tasks.pages` and static files.

Every address needs Airflow's login and the right to view plugins; what changes something needs the right to start
rounds, and every POST must come from this site (`security`). Work is done in threads of our own (`workers`), so that
Airflow's API, which shares the process, goes on answering.
"""
