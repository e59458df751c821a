"""What changes the weights: optimizers, learning rates, and the moving average.

Both see weights by name only.
"""
