"""Pieces shared by the Dags."""
