"""Rows of metadata files: read from every kind of table and document, and matched to images.

What a layout makes of them is `nadir.data.sources.layouts`' matter.
"""
