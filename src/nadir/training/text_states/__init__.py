"""Text states that are made once: captions in a fixed number of variants, their states on disk.

`variants` draws the captions, `key` names the folder, `store` holds the states, `making` makes
those that are missing, `reading` gives a step what it wants.
"""
