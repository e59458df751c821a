"""What a training minimises: timesteps, errors, and their weights.

`objective` puts them together and reads like the paper.
"""
