"""Brightness beyond two probes: levels between, the first guess from pure noise, other canvases."""
