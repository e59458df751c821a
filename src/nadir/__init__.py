"""Nadir: SDXL fine-tuning with v-prediction and zero terminal SNR, as a pipeline."""

__version__ = "0.1.0"
