"""Fine-tuning the VAE's decoder on real images; the encoder stays (paper §4.4)."""
