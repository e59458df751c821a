"""Metrics that need no downloaded weights; each returns one value per image where it can.

The unit of statistics is the prompt, so nothing here averages over prompts: `results` does.
"""
