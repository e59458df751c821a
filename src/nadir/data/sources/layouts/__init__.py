"""Layouts: how a folder, a bucket or tars say which image has which tags.

One file per layout, listed in `registry`; nothing else knows a layout by its name.
"""
