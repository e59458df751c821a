"""Model versions: registered once, promoted, brought back, and named by aliases.

Aliases move together or not at all.
"""
