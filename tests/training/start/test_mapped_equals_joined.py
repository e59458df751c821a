"""What is mapped from files equals what a process joins by itself, to the bit."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.support.training_project import HOLDOUT, read_section_of
from tests.training.test_loader import SCALING, tensors
from tests.training.test_masked_loss import add_masks, masked
from tests.training.test_resolutions import several  # noqa: F401 - a fixture

from nadir.config.objective import RegularisationParams
from nadir.data.latents.masks import MaskReader
from nadir.data.latents.store import LatentReader
from nadir.data.tables import MANIFEST, TAG_RULES, TAGS, read_table, write_table
from nadir.data.tags.rules import TagRules
from nadir.data.tags.weights import tag_names, tag_statistics
from nadir.diffusion.schedule import NoiseSchedule
from nadir.model.sdxl.networks import load_text
from nadir.training.loader import BatchLoader
from nadir.training.losses.timesteps import TimestepSampler
from nadir.training.start.making import Order, Sources, join, make
from nadir.training.start.tables import TrainingData, map_data, map_uses

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.config.train import TrainParams

RULES = [
    {"kind": "alias", "name": "redhead", "tag": "red_hair"},
    {"kind": "implication", "name": "red_hair", "tag": "coloured_hair"},
    {"kind": "implication", "name": "blue_hair", "tag": "coloured_hair"},
    {"kind": "implication", "name": "smile", "tag": "1girl"},
]


def sources_of(project: Path) -> Sources:
    data = project / "data"
    return Sources(
        data / "manifest.parquet",
        data / "tags.parquet",
        data / "tag_rules.parquet",
        data / "latents",
    )


def mapped(project: Path, params: TrainParams) -> TrainingData:
    sources, root = sources_of(project), project / "kept"
    order = Order(sources, params, root / "tags-1", root / "data-1")
    assert make(order)
    assert not make(order), "what is whole stays"
    names = tag_names(read_table(sources.tags, TAGS))
    return map_data(order.data, map_uses(order.tags), names)


def vary(project: Path) -> None:
    """Images without tags, several classes, aliases and implications, repeats of folders."""
    sources = sources_of(project)
    rows = read_table(sources.manifest, MANIFEST).to_pylist()
    for number, row in enumerate(rows):
        for tag in row["tags"]:
            if tag["name"] == "1boy":
                tag["class"] = "character"
            if tag["name"] == "red_hair" and number % 2:
                tag["name"] = "redhead"
        if number % 7 == 0:
            row["tags"], row["kept_tags"] = [], None
        row["captions"] = None if number % 5 == 0 else row["captions"]
        row["repeats"] = 1 + number % 3 if number % 2 else None
        row["path"] = f"{'plain' if number % 3 else 'odd'}/{number}.png"
        row["score"], row["year"] = number * 7 % 11, None if number % 4 == 0 else 2000 + number % 2
    write_table(pa.Table.from_pylist(rows, MANIFEST), sources.manifest, MANIFEST)
    write_table(pa.Table.from_pylist(RULES), sources.rules, TAG_RULES)
    rules = TagRules.of_table(read_table(sources.rules, TAG_RULES))
    found = tag_statistics(sources.manifest, read_section_of(project), rules=rules)
    write_table(found.tags, sources.tags, TAGS)


def assert_equal(one: TrainingData, other: TrainingData) -> None:
    a, b = one.samples, other.samples
    assert len(a) == len(b)
    for name in ("positions_N", "tag_images_N", "weights_N", "time_ids_N6", "is_largest"):
        assert getattr(a, name).dtype == getattr(b, name).dtype
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    assert a.tags.rows.dtype == b.tags.rows.dtype
    assert np.array_equal(a.tags.starts, b.tags.starts)
    assert np.array_equal(a.tags.rows, b.tags.rows)
    assert len(a.buckets) == len(b.buckets)
    assert all(np.array_equal(x, y) for x, y in zip(a.buckets, b.buckets, strict=True))
    assert (a.repeats_N is None) == (b.repeats_N is None)
    assert a.repeats_N is None or np.array_equal(a.repeats_N, b.repeats_N)
    assert (a.epochs_a_pass, list(a.tag_names)) == (b.epochs_a_pass, list(b.tag_names))
    assert list(a.aliases.items()) == list(b.aliases.items())
    assert list(a.hashes) == list(b.hashes)
    assert a.hashes[1:3] == b.hashes[1:3]
    assert (a.canvas, a.canvases, a.typical_original) == (b.canvas, b.canvases, b.typical_original)
    assert (a.facts is None) == (b.facts is None)
    if a.facts and b.facts:
        assert [a.facts.of(image) for image in range(len(a.tags))] == [
            b.facts.of(image) for image in range(len(b.tags))
        ]
    for name, values in vars(one.latents).items():
        assert np.array_equal(values, getattr(other.latents, name)), name
    assert (one.masks is None) == (other.masks is None)
    if one.masks and other.masks:
        assert all(np.array_equal(x, vars(other.masks)[key]) for key, x in vars(one.masks).items())


def is_mapped(values: Any) -> bool:
    """Whether an array's bytes are those of a file."""
    while values is not None and not isinstance(values, mmap.mmap):
        values = getattr(values, "base", None) if isinstance(values, np.ndarray) else values.obj
    return values is not None


def captions_of(params: TrainParams, **changes: object) -> TrainParams:
    return params.model_copy(update={"caption": params.caption.model_copy(update=changes)})


def with_facts(params: TrainParams) -> TrainParams:
    order = ("quality", "year", "rating", *params.caption.order)
    order = tuple(dict.fromkeys(order))
    forms = params.caption.forms.model_copy(update={"tags": 0.5, "tags_sentence": 0.5})
    words = {"best": 0.8, "worst": 0.0}
    return captions_of(params, order=order, quality=words, forms=forms, keep_first="marked")


CASES = {
    "as the preset has it": lambda params: params,
    "no weighting": lambda params: params.model_copy(update={"tag_weighting": False}),
    "repeats": lambda params: params.model_copy(update={"repeats": {"smile": 3}}),
    "regularisation": lambda params: params.model_copy(
        update={"regularisation": RegularisationParams(tags={"smile": 0.5}, folders={"odd": 0.25})}
    ),
    "sentences, facts, marked tags": with_facts,
    "first tags": lambda params: captions_of(params, keep_first=2),
    "masks": lambda params: masked(params, 0.25),
}


@pytest.mark.parametrize("name", CASES)
def test_every_setting_gives_the_same(project: Path, train_params: TrainParams, name: str) -> None:
    vary(project)
    if name == "masks":
        add_masks(project)
    params = CASES[name](train_params)
    joined = join(sources_of(project), params)
    assert_equal(joined, mapped(project, params))
    assert (joined.samples.facts is not None) == (
        name in ("first tags", "sentences, facts, marked tags")
    )
    assert joined.samples.aliases == {"redhead": "red_hair"}


def test_several_resolutions(several: Path, train_params: TrainParams) -> None:  # noqa: F811
    found = mapped(several, train_params)
    assert_equal(join(sources_of(several), train_params), found)
    assert len(found.samples.positions_N) > len(found.samples)
    assert found.samples.epochs_a_pass == 2


def test_no_image_with_a_tag(project: Path, train_params: TrainParams) -> None:
    manifest = sources_of(project).manifest
    rows = [row | {"tags": []} for row in read_table(manifest, MANIFEST).to_pylist()]
    write_table(pa.Table.from_pylist(rows, MANIFEST), manifest, MANIFEST)
    params = captions_of(train_params, keep_first=2)
    found = mapped(project, params)
    assert_equal(join(sources_of(project), params), found)
    assert not len(found.samples.tags.rows)


def test_batches_and_captions_are_equal_to_the_bit(
    project: Path, train_params: TrainParams
) -> None:
    vary(project)
    add_masks(project)
    params = masked(with_facts(train_params), 0.5).model_copy(update={"batch_size": 4})
    text, sampler = load_text(project / "models/base"), NoiseSchedule.scaled_linear()
    timesteps = TimestepSampler(params.timesteps, sampler.zero_terminal())
    loaders = []
    for data in (join(sources_of(project), params), mapped(project, params)):
        assert data.masks is not None
        folder = project / "data/latents"
        loaders.append(
            BatchLoader(
                data.samples,
                reader=LatentReader(folder, data.latents),
                masks=MaskReader(folder, data.masks),
                scaling=SCALING,
                text=text,
                params=params,
                timesteps=timesteps,
                device=torch.device("cpu"),
            )
        )
    captions = set()
    for step in range(12):
        one, other = (tensors(loader.batch(step)) for loader in loaders)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
        names, _, finite = loaders[1].drawn(step)
        assert (names, finite.all()) == (loaders[0].drawn(step)[0], True)
        asked = [loader.captions(step, np.arange(8), range(8)) for loader in loaders]
        assert asked[0] == asked[1]
        captions |= set(asked[0])
    assert len(captions) > 20


def test_nothing_large_is_loaded(project: Path, train_params: TrainParams) -> None:
    vary(project)
    add_masks(project)
    params = masked(with_facts(train_params), 0.5)
    params = params.model_copy(update={"repeats": {"smile": 3}})
    mapped(project, params)
    sources, root = sources_of(project), project / "kept"
    names = tag_names(read_table(sources.tags, TAGS))
    before = pa.total_allocated_bytes()
    data = map_data(root / "data-1", map_uses(root / "tags-1"), names)
    assert pa.total_allocated_bytes() == before, "Arrow's columns are the file's own bytes"
    samples, facts = data.samples, data.samples.facts
    assert facts is not None
    assert facts.kept is not None
    assert data.masks is not None
    arrays = [value for value in vars(samples).values() if isinstance(value, np.ndarray)]
    arrays += [samples.is_largest, samples.tags.rows, samples.tags.starts, *samples.buckets]
    arrays += [facts.kept.rows, facts.kept.starts, data.masks.shard, data.masks.row]
    arrays += [value for value in vars(data.latents).values() if isinstance(value, np.ndarray)]
    assert len(arrays) >= 6 + 3 + 2 + 4 + 5
    assert all(is_mapped(values) for values in arrays)
    assert not any(values.flags.writeable for values in arrays)
    assert len(samples) <= 60 - HOLDOUT
