"""Runs, models and their lineage in MLflow; the only room that imports it."""
