"""What a model version consists of: weights, the code that draws with them, its requirements."""
