"""How bright a colour is."""

REC709 = (0.2126, 0.7152, 0.0722)
"""Rec. 709 weights of red, green and blue; applied to gamma-encoded values as they are stored."""
