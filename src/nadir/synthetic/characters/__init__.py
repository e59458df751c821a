"""Drawn characters: bodies, faces, hair, clothes, what they hold, and animals.

Each module draws one thing on a canvas and says which tags it shows.
"""
