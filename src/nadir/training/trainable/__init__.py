"""What is trained: the whole U-Net or some of its layers, text encoders, or an adapter."""

from nadir.training.trainable.full_unet import FullUNet
from nadir.training.trainable.make import make_trainable, text_precision
from nadir.training.trainable.protocol import Trainable

__all__ = ["FullUNet", "Trainable", "make_trainable", "text_precision"]
