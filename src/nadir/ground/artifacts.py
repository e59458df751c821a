"""Where the stages leave their results: every output in `dvc.yaml`, relative to the project's root.

A test holds this list equal to the outputs in `dvc.yaml`. What lies inside a folder is named by who
writes it.
"""

from pathlib import Path

FOLDERS = ("data", "models", "reports")
"""Where all of them lie; git tracks nothing there."""
REPORTS = FOLDERS[-1]
"""What people read, and the numbers behind it."""

# ingest
LISTING = Path("data/listing.parquet")
"""The files of the source, with size and version."""
MASKS = Path("data/masks.parquet")
"""The mask files of images."""
SOURCE_FORMAT = Path("data/source.json")
"""The layout that the source was read by."""
TAG_CLASSES = Path("data/tag_classes.parquet")
"""Classes of tags, as the supplied table says."""
TAG_RULES = Path("data/tag_rules.parquet")
"""The supplied aliases and implications."""
ADAPTER = Path("data/adapter.json")
"""The hash of the adapter that training goes on from, if any."""

# validate
MANIFEST = Path("data/manifest.parquet")
"""The images in use, with what they show."""
QUARANTINE = Path("data/quarantine.parquet")
"""The images that are not in use, and why."""
PROFILE = Path("data/profile.json")
"""The present dataset in numbers, by which drift is measured."""
VALIDATION_PAGE = Path("reports/validation.html")
"""The report about the dataset."""
VALIDATION = Path("reports/validation.json")
"""Its numbers."""

# tag_statistics
TAGS = Path("data/tags.parquet")
"""Counts, rarity and weight of each tag."""
TAG_PAIRS = Path("data/tag_pairs.parquet")
"""Which of the most used tags stand together."""
TAG_NUMBERS = Path("reports/tags.json")
"""Tags and their uses in all."""
TAG_RANKS = Path("reports/tags.csv")
"""Plot data: uses by rank."""
TAG_USE_CHART = Path("reports/tag_use.png")
"""Chart of how often tags are used."""
TAG_WEIGHTS_CHART = Path("reports/tag_weights.png")
"""Chart of the weights of tags."""

# bucket
BUCKETS = Path("data/buckets.parquet")
"""Bucket, resize and crop of each image."""
BUCKET_QUARANTINE = Path("data/bucket_quarantine.parquet")
"""The images that fit no bucket, and why."""
BUCKET_NUMBERS = Path("reports/buckets.json")
"""What buckets crop and leave out."""
BUCKET_USES = Path("reports/buckets.csv")
"""Plot data: images per bucket."""

# base_model
BASE = Path("models/base")
"""The SDXL that training starts from, a diffusers folder."""

# encode
LATENTS = Path("data/latents")
"""Shards of latents and their index."""

# latent_statistics
LATENT_STATISTICS = Path("data/latent_statistics.json")
"""Mean and standard deviation of each latent channel."""

# decoder
DECODER = Path("models/decoder")
"""The VAE's fine-tuned decoder; only a note where it was not trained."""

# train
CHECKPOINT = Path("models/checkpoint")
"""The trained model, a diffusers folder."""
TRAINING_RUN = Path("models/run.json")
"""Which MLflow run trained it (`nadir.ground.run_record`)."""
TRAINING = Path("reports/training.json")
"""Steps, images and loss."""
LOSS_CURVE = Path("reports/loss.csv")
"""Plot data: loss by images seen."""

# evaluate
EVALUATION_TABLE = Path("reports/evaluation.parquet")
"""Every measured value."""
EVALUATION_PAGE = Path("reports/evaluation.html")
"""The report about the checkpoint."""
SAMPLES = Path("reports/samples")
"""The pictures it drew."""
EVALUATION = Path("reports/evaluation.json")
"""Metrics by CFG scale, and the gate's verdict."""
EVALUATION_CURVE = Path("reports/evaluation.csv")
"""Plot data: metrics by CFG scale."""
