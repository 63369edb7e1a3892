"""What people look at: the same numbers for Airflow's page, the report and ``--json``, each a typed record."""
