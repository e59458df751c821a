"""SDXL: loading it, making the tiny one, encoding text and images, writing checkpoints."""
