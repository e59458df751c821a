"""Where images come from: each source lists its files and opens them, and nothing more."""
