"""Lets img2dataset's own writers write samples: run_img2dataset.py SAMPLES.json FOLDER.

Samples are [{"image": path, "key": ..., "caption": ..., "meta": {...}}]; below FOLDER there are
then `tar` and `files`. Only the package's writers are loaded: its `__init__` imports a downloader
with libraries of its own.
"""

import importlib
import importlib.util
import json
import sys
import types
from pathlib import Path

import pyarrow as pa

found = importlib.util.find_spec("img2dataset")
package = types.ModuleType("img2dataset")
package.__path__ = list(found.submodule_search_locations)
sys.modules["img2dataset"] = package
writer = importlib.import_module("img2dataset.writer")

samples = json.loads(Path(sys.argv[1]).read_text())
schema = pa.Table.from_pylist([sample["meta"] for sample in samples]).schema
for name, kind in (("tar", "WebDatasetSampleWriter"), ("files", "FilesSampleWriter")):
    folder = Path(sys.argv[2]) / name
    folder.mkdir(parents=True)
    shard = getattr(writer, kind)(0, str(folder), True, 5, schema, "png")
    for sample in samples:
        image = Path(sample["image"]).read_bytes()
        shard.write(image, sample["key"], sample["caption"], sample["meta"])
    shard.close()
