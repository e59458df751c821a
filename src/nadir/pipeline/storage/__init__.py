"""DVC's cache and remote: weights by hash, what is damaged, what is needed, what is shared.

The only part that removes or sends objects.
"""
