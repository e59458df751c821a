"""Errors on images that training never saw; training and evaluation both measure them."""
