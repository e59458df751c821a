"""The sample dataset: little characters and scenes that this package draws by itself."""

from nadir.synthetic.dataset import draw_scene, make_dataset

__all__ = ["draw_scene", "make_dataset"]
