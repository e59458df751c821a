"""What is behind drawn characters: plain backgrounds, landscapes, rooms and nights.

Each module draws one kind of place.
"""
