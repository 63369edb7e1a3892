"""What other Dags may wait for: lineage, with the numbers in an event's extra."""

from airflow.sdk import Asset

CHAMPION = Asset(name="selfexplore_champion", uri="selfexplore://champion")
"""Updated by every promotion; extra: experiment, round and model_id."""
