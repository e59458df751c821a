"""A page on this machine that draws two models side by side from one noise."""
