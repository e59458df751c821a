"""Where a base model comes from: a diffusers folder on disk or on the hub.

What is copied is plain, pinned and without pickles.
"""
