"""A tiny SDXL made from scratch, which proves the whole way in minutes on two cores.

None of it is the paper's.
"""
