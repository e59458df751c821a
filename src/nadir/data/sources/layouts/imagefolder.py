"""Layout `imagefolder`: Hugging Face's, with `metadata.jsonl`, `.csv` or `.parquet`.

The image is `file_name`, from the file's folder.
"""

from __future__ import annotations

from nadir.data.sources.layouts.metadata_layout import MetadataLayout


class ImageFolder(MetadataLayout):
    """Images with a metadata file in their folder or above."""

    name = "imagefolder"
    files = r"(?is)(?:^|/)metadata\.(?:jsonl|csv|parquet)$"
