"""What made a version, and which versions an image made.

Start with `chain.py`.
"""
