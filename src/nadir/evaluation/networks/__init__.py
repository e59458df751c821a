"""Trained networks of others that look at pictures, each known by the hash of its weights."""
