"""Encoded images on disk: immutable shards found by content, and what is known of their values.

The store adopts, checks and compacts shards; it never encodes.
"""
