"""Diffusers folders: written so that every program samples them rightly, and checked when read.

`nadir.json` beside the parts holds the noise process and how the model wants to be asked.
"""
