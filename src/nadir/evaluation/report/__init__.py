"""The evaluation's page, charts and sheets of samples.

Metrics bring their own charts; this room arranges them.
"""
