"""Where versions that were registered before November 2026 look for the served model."""

from nadir.serving.served_model import NadirModel

__all__ = ["NadirModel"]
