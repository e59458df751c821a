"""What weights and tables of others mean, recognised by names, shapes and values.

Used wherever a model comes in, so that nothing is read as what it is not.
"""
