"""Canvas sizes, which image goes to which, and which images make a batch.

All of it is a pure function of sizes, seed and step (paper §4.1).
"""
