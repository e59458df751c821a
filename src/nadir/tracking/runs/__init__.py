"""MLflow's runs of pipelines and trainings, which outlive processes and outages.

A journal on disk keeps what a store that is away does not know yet.
"""
