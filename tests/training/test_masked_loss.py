"""The masked loss: what a mask leaves out teaches nothing, or as much as `unmasked` says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from ruamel.yaml import YAML
from tests.training.test_loader import loader_of
from tests.training.test_trainer import train, weights

from nadir.config.noise import NoiseParams
from nadir.config.objective import LossWeightParams, MaskedLossParams
from nadir.config.params import Params, disagreements
from nadir.config.reader import read_section
from nadir.data.latents.masks import MASKS_NAME, MaskReader, mask_places
from nadir.data.latents.store import LatentReader, LatentStore
from nadir.data.tables import MASK_INDEX, write_table
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError
from nadir.training.losses.objective import Objective
from nadir.training.reports.departures import departures

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.config.train import TrainParams
    from nadir.training.losses.objective import Batch


def add_masks(project: Path) -> None:
    """Every latent's left half counts, but for the last of each bucket, which has no mask."""
    folder = project / "data/latents"
    index = LatentReader(folder).index
    rows: list[dict[str, Any]] = []
    for bucket, members in index.groupby("bucket"):
        width, height = (int(side) // 4 for side in str(bucket).split("x"))
        keys = list(members["key"])[:-1]
        masks = torch.zeros(len(keys), 1, height, width, dtype=torch.float16)
        masks[..., : width // 2] = 1
        shard = LatentStore(folder).write_shard(str(bucket), [f"mask-{key}" for key in keys], masks)
        rows += [
            {"key": key, "mask_key": f"mask-{key}", "shard": shard, "row": row}
            for row, key in enumerate(keys)
        ]
    write_table(pa.Table.from_pylist(rows, MASK_INDEX), folder / MASKS_NAME, MASK_INDEX)


def masked(params: TrainParams, unmasked: float) -> TrainParams:
    return params.model_copy(update={"masked_loss": MaskedLossParams(unmasked=unmasked)})


def objective_of(project: Path) -> Objective:
    weight = LossWeightParams(name="snr_plus_one", gamma=5.0, learned=None)
    noise = read_section("noise", NoiseParams, project / "params.yaml")
    return Objective(NoiseSchedule.scaled_linear().zero_terminal(), noise, weight)


class Network:
    """Puts out a trained bias, alike for all samples."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.bias_HW = torch.zeros(size, requires_grad=True)

    def __call__(self, noisy_BCHW: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(noisy_BCHW) + self.bias_HW


def gradient(project: Path, batch: Batch) -> torch.Tensor:
    network = Network((batch.latents_BCHW.shape[2], batch.latents_BCHW.shape[3]))
    objective_of(project)(network, batch).loss.backward()
    assert network.bias_HW.grad is not None
    return network.bias_HW.grad


def without_full(batch: Batch) -> Batch:
    """The batch without the sample that has no mask."""
    assert batch.pixel_weights_B1HW is not None
    kept = batch.pixel_weights_B1HW.amin(dim=(1, 2, 3)) < 1
    parts = {name: None if one is None else one[kept] for name, one in vars(batch).items()}
    return replace(batch, **parts)


@pytest.mark.parametrize("unmasked", [0.0, 0.25])
def test_what_the_mask_leaves_out_pulls_by_the_unmasked_share(
    project: Path, train_params: TrainParams, unmasked: float
) -> None:
    plain = loader_of(project, train_params).batch(3)
    assert plain.pixel_weights_B1HW is None
    add_masks(project)
    batch = without_full(loader_of(project, masked(train_params, unmasked)).batch(3))
    half = batch.latents_BCHW.shape[3] // 2
    alone = gradient(project, batch)
    whole = gradient(project, replace(batch, pixel_weights_B1HW=None))
    torch.testing.assert_close(alone[:, :half], whole[:, :half])
    torch.testing.assert_close(alone[:, half:], unmasked * whole[:, half:])
    assert whole[:, half:].abs().min() > 0


def test_the_loss_is_not_divided_by_the_mask_and_the_plain_error_stays(
    project: Path, train_params: TrainParams
) -> None:
    add_masks(project)
    batch = loader_of(project, masked(train_params, 0.0)).batch(3)
    size = (batch.latents_BCHW.shape[2], batch.latents_BCHW.shape[3])
    objective = objective_of(project)
    assert batch.pixel_weights_B1HW is not None
    nothing = replace(batch, pixel_weights_B1HW=torch.zeros_like(batch.pixel_weights_B1HW))
    plain = objective(Network(size), replace(batch, pixel_weights_B1HW=None))
    half = objective(Network(size), replace(batch, pixel_weights_B1HW=torch.full_like(
        batch.pixel_weights_B1HW, 0.5)))  # fmt: skip
    torch.testing.assert_close(half.loss, plain.loss / 2)
    black = objective(Network(size), nothing)
    assert black.loss.item() == 0
    torch.testing.assert_close(black.unweighted, plain.unweighted, rtol=0, atol=0)


def test_images_without_a_mask_count_in_full_and_mirrored_ones_mirrored(
    project: Path, train_params: TrainParams
) -> None:
    add_masks(project)
    loader = loader_of(project, masked(train_params, 0.1))
    seen = [loader.batch(step).pixel_weights_B1HW for step in range(20)]
    weights = torch.cat([one.amin(dim=(1, 2, 3)) for one in seen if one is not None])
    assert sorted({round(float(weight), 4) for weight in weights}) == [0.1, 1.0]
    reader = LatentReader(project / "data/latents")
    masks = MaskReader(reader.folder, mask_places(reader.folder, reader.index["key"].tolist()))
    row = np.flatnonzero(reader.index["bucket"] == "32x32")[:1]
    plain = masks.rows(row, np.array([False]), (8, 8))
    assert torch.equal(masks.rows(row, np.array([True]), (8, 8)), plain.flip(3))
    assert plain[..., :4].all()


def test_parts_of_a_batch_keep_their_masks(project: Path, train_params: TrainParams) -> None:
    add_masks(project)
    batch = loader_of(project, masked(train_params, 0.1)).batch(0)
    parts = [part.pixel_weights_B1HW for part in batch.parts(2)]
    assert batch.pixel_weights_B1HW is not None
    again = torch.cat([one for one in parts if one is not None])
    assert torch.equal(again, batch.pixel_weights_B1HW)


def test_a_masked_loss_without_masks_is_an_error_and_with_them_named(
    project: Path, train_params: TrainParams
) -> None:
    with pytest.raises(NadirError, match="no latent has a mask"):
        loader_of(project, masked(train_params, 0.1))
    noise = read_section("noise", NoiseParams, project / "params.yaml")
    assert departures(masked(train_params, 0.1), noise) == ["masked loss (unmasked 0.1)"]


def test_the_setting_needs_that_masks_are_stored(params_text: str) -> None:
    tree = YAML(typ="safe").load(params_text)
    tree["train"]["masked_loss"] = {"unmasked": 0.1}
    found = disagreements(Params.model_validate(tree, strict=False))
    assert found == [("train.masked_loss", "needs encode.masks: files, alpha or both")]
    tree["encode"]["masks"] = "files"
    assert disagreements(Params.model_validate(tree, strict=False)) == []


def test_a_training_ends_elsewhere_with_a_mask_and_by_how_much_it_lets_through(
    project: Path, tmp_path: Path
) -> None:
    add_masks(project)
    settings = {"plain": None, "half": {"unmasked": 0.5}, "none": {"unmasked": 0.0}}
    off = {"every": 0, "images": 1, "levels": 1}
    for name, setting in settings.items():
        train(tmp_path / name, masked_loss=setting, steps=4, preview_every=0, validation=off)
    plain, half, none = (weights(tmp_path / name)["conv_out.weight"] for name in settings)
    assert not torch.equal(plain, half)
    assert not torch.equal(half, none)
