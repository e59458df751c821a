"""Numbers that SDXL was made with; free of torch, so that reading `params.yaml` stays quick."""

VAE_FACTOR = 8
"""Pixels of an image per latent pixel, along each side."""
SCALING_FACTOR = 0.13025
"""What SDXL's latents are multiplied with for the U-Net: about 1 over their deviation."""
SIDE_PX = 1024
"""Side of the square canvas that SDXL was made for."""
CHUNK_TOKENS = 75
"""Tokens that a text encoder reads at once, without start and end (paper §4.2)."""
MAX_TOKENS = CHUNK_TOKENS + 2
"""Tokens that CLIP reads, its start and end among them."""
TIMESTEPS = 1000
"""Steps of the noise schedule."""
BETA_START = 0.00085
"""First beta of the schedule."""
BETA_END = 0.012
"""Last beta of the schedule."""
LAST_SIGMA = 14.6146
"""Sigma of the last step of that schedule, without zero terminal SNR."""
