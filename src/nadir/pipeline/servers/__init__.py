"""Servers that this project starts on loopback, and that never outlive it.

Their own words are shown when they cannot start.
"""
