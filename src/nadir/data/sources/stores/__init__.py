"""Where files lie: a folder or an S3 bucket, behind one interface.

A store lists, stats and reads; it knows nothing of images.
"""
