"""Real images as the metrics see them: thumbnails, pinned features, and a probe that knows tags.

Nothing here needs weights of another network: filters are drawn from a fixed seed, the probe is
trained on the project's own images.
"""
