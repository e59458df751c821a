"""Which images are used, and whether the dataset as a whole is fit to train on.

Verdicts, near-duplicates, splits and drift end in Great Expectations' suite and in one page.
"""
