"""Metrics that need a trained network of others; without its weights each says how to enable it."""
