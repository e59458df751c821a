"""DVC's graph, its stages as supervised processes, and their fingerprints."""
