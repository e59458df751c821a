"""Are the outputs of two finished workspaces equal by value? Names each difference.

    python scripts/compare_outputs.py OLD NEW

For a change that is meant to leave results alone: run the pipeline of both versions over the same
images with the same parameters, in a clone each, and compare the two. Rows are matched by what they
are about, not by their place; latents by the image they show, whatever shard holds them. Losses are
compared to six significant digits, all else exactly. It ends with code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image
from safetensors.numpy import load_file

from nadir.ground.files import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIGITS = 6
MISSING = "only in "


@dataclass(frozen=True)
class Output:
    """One output and how it is read.

    Attributes:
        path: In the workspace; a pattern where it is several files.
        read: Gives its values as a table with one row per `keys`.
        keys: Columns that say what a row is about.
        digits: Significant digits that must agree; None for all.
    """

    path: str
    read: Callable[[Path], pd.DataFrame]
    keys: tuple[str, ...]
    digits: int | None = None


def flat(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a JSON document, each with its path."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from flat(value, f"{name}.{key}" if name else key)
    else:
        yield name, json.dumps(tree) if isinstance(tree, list) else tree


def document(path: Path) -> pd.DataFrame:
    """A JSON document, one row per leaf."""
    leaves = dict(flat(read_json(path)))
    return pd.DataFrame({"name": leaves.keys(), "value": pd.Series(leaves.values(), dtype=object)})


def parquet(path: Path) -> pd.DataFrame:
    """A table; a cell that holds several values becomes text."""
    frame = pd.read_parquet(path)
    for name in frame.columns:
        if frame[name].map(lambda cell: isinstance(cell, np.ndarray)).any():
            frame[name] = frame[name].map(lambda cell: json.dumps(list(cell)))
    return frame


def latent_index(path: Path) -> pd.DataFrame:
    """Which latents there are, of which geometry; where in the store they lie is left out."""
    return parquet(path).drop(columns=["shard", "row", "flip_shard", "flip_row"])


def latents(path: Path) -> pd.DataFrame:
    """The values of each image's latent."""
    index = pd.read_parquet(path)
    shards = {name: load_file(path.parent / name)["latents"] for name in set(index["shard"])}
    values = [shards[row.shard][row.row] for row in index.itertuples()]
    return pd.DataFrame({"sha256": index["sha256"], "bucket": index["bucket"], "latent": values})


def tensors(path: Path) -> pd.DataFrame:
    """A file of weights."""
    found = load_file(path)
    return pd.DataFrame({"name": found.keys(), "weight": pd.Series(found.values(), dtype=object)})


def picture(path: Path) -> pd.DataFrame:
    """Pixels of an image."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(np.int16)
    return pd.DataFrame({"name": ["pixels"], "value": pd.Series([pixels], dtype=object)})


OUTPUTS = (
    Output("data/listing.parquet", parquet, ("path",)),
    Output("data/tag_classes.parquet", parquet, ("tag",)),
    Output("data/tag_rules.parquet", parquet, ("kind", "name", "tag")),
    Output("data/manifest.parquet", parquet, ("sha256",)),
    Output("data/quarantine.parquet", parquet, ("path",)),
    Output("data/profile.json", document, ("name",)),
    Output("reports/validation.json", document, ("name",)),
    Output("data/tags.parquet", parquet, ("tag",)),
    Output("data/tag_pairs.parquet", parquet, ("tag", "other")),
    Output("reports/tags.json", document, ("name",)),
    Output("data/buckets.parquet", parquet, ("sha256", "bucket_width", "bucket_height")),
    Output("data/bucket_quarantine.parquet", parquet, ("path",)),
    Output("reports/buckets.json", document, ("name",)),
    Output("models/base/*/*.safetensors", tensors, ("name",)),
    Output("data/latents/index.parquet", latent_index, ("key",)),
    Output("data/latents/index.parquet", latents, ("sha256", "bucket")),
    Output("data/latent_statistics.json", document, ("name",)),
    Output("reports/loss.csv", pd.read_csv, ("step", "images"), DIGITS),
    Output("reports/training.json", document, ("name",), DIGITS),
    Output("models/checkpoint/nadir.json", document, ("name",)),
    Output("models/checkpoint/unet/*.safetensors", tensors, ("name",)),
    Output("models/checkpoint/vae/*.safetensors", tensors, ("name",)),
    Output("reports/evaluation.json", document, ("name",)),
    Output("reports/evaluation.parquet", parquet, ("cfg_scale", "prompt_id", "seed", "metric")),
    Output("reports/samples/*.png", picture, ("name",)),
)


def differences(old: pd.DataFrame, new: pd.DataFrame, output: Output) -> Iterator[str]:
    """What differs between two tables, one line per column."""
    # Arrow cannot join columns that have no chunk.
    old, new = old.astype(object), new.astype(object)
    for mine, other, side in ((old, new, "old"), (new, old, "new")):
        if extra := [name for name in mine.columns if name not in other.columns]:
            yield f"columns {MISSING}{side}: {', '.join(extra)}"
    both = old.merge(new, how="outer", on=list(output.keys), indicator="side")
    for side, name in (("left_only", "old"), ("right_only", "new")):
        alone = both[both["side"] == side]
        if len(alone):
            first = ", ".join(str(alone.iloc[0][key]) for key in output.keys)
            yield f"{len(alone)} rows {MISSING}{name}, such as {first}"
    both = both[both["side"] == "both"]
    shared = [name for name in old.columns if name in new.columns and name not in output.keys]
    for name in shared:
        yield from _in_column(both, name, output)


def _in_column(both: pd.DataFrame, name: str, output: Output) -> Iterator[str]:
    pairs = zip(both[f"{name}_x"], both[f"{name}_y"], strict=True)
    unlike = [not equal(before, after, output.digits) for before, after in pairs]
    if not any(unlike):
        return
    first = both[unlike].iloc[0]
    row = ", ".join(str(first[key]) for key in output.keys)
    before, after = first[f"{name}_x"], first[f"{name}_y"]
    if isinstance(before, np.ndarray) and before.shape == after.shape:
        most = max(
            float(np.abs(pair[0].astype(float) - pair[1]).max())
            for pair in zip(both[f"{name}_x"], both[f"{name}_y"], strict=True)
        )
        yield f"{name}: {sum(unlike)} of {len(both)} differ, by {most:.3g} at most ({row})"
    else:
        yield f"{name}: {sum(unlike)} of {len(both)} differ, such as {before} → {after} ({row})"


def equal(before: Any, after: Any, digits: int | None) -> bool:
    """Whether two cells are equal, numbers to `digits` significant digits."""
    if isinstance(before, np.ndarray):
        return np.array_equal(before, after)
    if digits and isinstance(before, float) and isinstance(after, float):
        return f"{before:.{digits}g}" == f"{after:.{digits}g}"
    # Missing values are equal to each other.
    return bool(before == after) or (before != before and after != after)  # noqa: PLR0124


def compare(old: Path, new: Path) -> Iterator[tuple[str, list[str]]]:
    """Each output with its differences; a file of one workspace alone is one."""
    for output in OUTPUTS:
        names = {str(path.relative_to(at)) for at in (old, new) for path in at.glob(output.path)}
        for name in sorted(names) or [output.path]:
            lacking = [at for at in (old, new) if not (at / name).exists()]
            title = f"{name} (values)" if output.read is latents else name
            if lacking:
                yield title, [f"is missing in {at}" for at in lacking]
            else:
                before, after = output.read(old / name), output.read(new / name)
                yield title, list(differences(before, after, output))


def main() -> None:
    """Compare two workspaces and print a line for each output."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old", type=Path, help="root of a finished workspace")
    parser.add_argument("new", type=Path, help="root of the other")
    arguments = parser.parse_args()
    unequal = 0
    for name, found in compare(arguments.old, arguments.new):
        print(f"{'differs' if found else 'equal':8} {name}")
        unequal += bool(found)
        for line in found:
            print(f"         {line}")
    print(f"{unequal} outputs differ" if unequal else "all outputs are equal")
    sys.exit(unequal > 0)


if __name__ == "__main__":
    main()
