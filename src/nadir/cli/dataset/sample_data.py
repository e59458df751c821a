"""`nadir sample-data`: a folder of drawn characters with tags, to try everything on."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from nadir.ground.workspace import expanded


def sample_data(
    folder: Annotated[
        str, typer.Argument(help="Where to; absent, empty, or an earlier sample.", metavar="DIR")
    ],
    images: Annotated[
        int, typer.Option(help="How many pictures, a few bad ones among them.", metavar="N", min=1)
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Another seed, other pictures.", metavar="S")] = 0,
) -> None:
    """Draw a dataset of little characters and scenes, with booru tags beside each picture.

    The same numbers give the same bytes. From 50 pictures on, a few are broken on purpose:
    truncated, duplicated, without tags, one pixel large.

    Examples:
      nadir sample-data data/sample --images 2000 --seed 0
      nadir run --data data/sample
    """
    from nadir.synthetic import make_dataset

    make_dataset(expanded(folder), images=images, seed=seed)
    sys.stdout.write(f"{images} pictures with tags in {folder}\n")
