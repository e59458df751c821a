"""SDXL's parts: networks, text encoders, autoencoder, the scaling of latents, names of weights.

Everything that a checkpoint, a single file and training share.
"""
