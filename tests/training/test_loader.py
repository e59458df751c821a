from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from tests.support.training_project import BUCKETS, HOLDOUT, IMAGES

from nadir.config.caption import CaptionForms
from nadir.data.latents.masks import MaskReader, mask_places
from nadir.data.latents.store import LatentReader, LatentStore
from nadir.data.tables import LATENT_INDEX, MANIFEST, read_table, write_table
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError
from nadir.model.sdxl.networks import load_text
from nadir.model.sdxl.scaling import LatentScaling
from nadir.training.loader import BatchLoader, batch_plan
from nadir.training.losses.objective import Batch
from nadir.training.losses.timesteps import TimestepSampler
from nadir.training.samples import Samples, load_samples

if TYPE_CHECKING:
    from nadir.config.train import TrainParams
from nadir.config.train_parts import EncoderFactors, TextEncodersParams

SCALING = LatentScaling(kind="per_channel", mean=(1.0,) * 4, std=(3.0,) * 4)


def samples_of(project: Path, *, tag_weighting: bool = True) -> Samples:
    return load_samples(
        LatentReader(project / "data/latents").index,
        manifest=project / "data/manifest.parquet",
        tags=project / "data/tags.parquet",
        tag_weighting=tag_weighting,
    )


def loader_of(project: Path, params: TrainParams, samples: Samples | None = None) -> BatchLoader:
    reader, masks = LatentReader(project / "data/latents"), None
    if params.masked_loss:
        places = mask_places(reader.folder, reader.index["key"].tolist())
        masks = MaskReader(reader.folder, places)
    return BatchLoader(
        samples or samples_of(project),
        reader=reader,
        masks=masks,
        scaling=SCALING,
        text=load_text(project / "models/base"),
        params=params,
        timesteps=TimestepSampler(params.timesteps, NoiseSchedule.scaled_linear().zero_terminal()),
        device=torch.device("cpu"),
    )


def tensors(batch: Batch) -> dict[str, torch.Tensor]:
    """What a batch holds; tokens only where text encoders are trained."""
    return {name: tensor for name, tensor in vars(batch).items() if tensor is not None}


TRAINED_TEXT = TextEncodersParams(learning_rate_factor=EncoderFactors(first=1.0, second=1.0))


@pytest.fixture
def params(train_params: TrainParams) -> TrainParams:
    return train_params.model_copy(update={"batch_size": 8})


def test_only_training_images_are_fed_each_once_and_by_its_bucket(project: Path) -> None:
    samples = samples_of(project)
    assert len(samples) == IMAGES - HOLDOUT
    rows = np.sort(np.concatenate(samples.buckets))
    assert rows.tolist() == list(range(len(samples)))
    index = LatentReader(project / "data/latents").index.iloc[samples.positions_N]
    manifest = read_table(project / "data/manifest.parquet", MANIFEST).to_pandas()
    train = set(manifest.loc[manifest["split"] == "train", "sha256"])
    assert set(index["sha256"]) == train
    for rows_of_bucket in samples.buckets:
        assert index["bucket"].iloc[rows_of_bucket].nunique() == 1


def test_a_row_keeps_its_own_tags_and_sizes(project: Path) -> None:
    samples = samples_of(project)
    index = LatentReader(project / "data/latents").index.iloc[samples.positions_N]
    manifest = read_table(project / "data/manifest.parquet", MANIFEST).to_pandas()
    manifest = manifest.set_index("sha256")
    for row, (_, entry) in enumerate(index.iterrows()):
        expected = [(tag["name"], tag["class"]) for tag in manifest.loc[entry["sha256"], "tags"]]
        assert samples.prompt_tags(row) == expected
        assert samples.time_ids_N6[row].tolist() == [
            entry["original_height"],
            300,
            0,
            3,
            entry["bucket_height"],
            entry["bucket_width"],
        ]


def test_tag_weights_have_mean_one_and_are_all_one_when_turned_off(project: Path) -> None:
    weighted = samples_of(project).weights_N
    assert weighted.mean() == pytest.approx(1.0, abs=1e-5)
    assert weighted.std() > 0
    assert set(samples_of(project, tag_weighting=False).weights_N) == {1.0}


def test_the_canvas_is_the_largest_bucket_and_the_typical_original_the_median(
    project: Path,
) -> None:
    samples = samples_of(project)
    largest = max(samples.buckets, key=len)
    assert samples.canvas == tuple(samples.time_ids_N6[largest[0], 4:])
    assert samples.canvas in [(height, width) for width, height in BUCKETS]
    assert samples.canvases == sorted(BUCKETS)
    assert samples.typical_original[1] == 300


def test_a_batch_is_one_shape_normalised_and_conditioned(
    project: Path, params: TrainParams
) -> None:
    loader = loader_of(project, params)
    stored = {
        (t.shape[2], t.shape[3]): t
        for path in (project / "data/latents").glob("*.safetensors")
        for t in load_file(path).values()
    }
    shapes = set()
    for step in range(6):
        batch = loader.batch(step)
        shapes.add(tuple(batch.latents_BCHW.shape))
        assert batch.noise_BCHW.shape == batch.latents_BCHW.shape
        assert batch.hidden_BSD.shape == (8, 77, 16)
        assert batch.pooled_BP.shape == (8, 8)
        assert batch.time_ids_B6.shape == (8, 6)
        height, width = batch.latents_BCHW.shape[2:]
        assert (batch.time_ids_B6[:, 4:] == torch.tensor([height * 4.0, width * 4.0])).all()
        raw = batch.latents_BCHW * 3 + 1
        distances = (stored[height, width] - raw[0]).abs().amax(dim=(1, 2, 3))
        assert distances.min() < 1e-5
    assert shapes == {(8, 4, 8, 8), (8, 4, 6, 10)}


@pytest.mark.parametrize("text_encoders", [None, TRAINED_TEXT])
def test_the_parts_of_two_processes_make_up_the_batch_of_one(
    project: Path, params: TrainParams, text_encoders: TextEncodersParams | None
) -> None:
    loader = loader_of(project, params.model_copy(update={"text_encoders": text_encoders}))
    for step in range(4):
        whole = loader.batch(step)
        parts = [loader.batch(step, rank=rank, ranks=2) for rank in range(2)]
        for name, tensor in tensors(whole).items():
            joined = torch.cat([getattr(part, name) for part in parts])
            if tensor.dtype == torch.int64:
                assert torch.equal(joined, tensor)
            else:
                torch.testing.assert_close(joined, tensor, msg=name)


def test_a_batch_depends_on_its_step_alone_not_on_what_was_drawn_before(
    project: Path, params: TrainParams
) -> None:
    loader, fresh = loader_of(project, params), loader_of(project, params)
    for step in range(5):
        loader.batch(step)
    for name, tensor in tensors(loader.batch(5)).items():
        assert torch.equal(tensor, getattr(fresh.batch(5), name)), name


def test_captions_are_dropped_and_shuffled_anew_at_each_visit_as_often_as_asked(
    project: Path, params: TrainParams
) -> None:
    caption = params.caption.model_copy(update={"drop_all": 0.25, "drop_tag": 0.0})
    loader = loader_of(project, params.model_copy(update={"caption": caption}))
    row = next(row for row in range(50) if len(samples_of(project).prompt_tags(row)) == 4)
    prompts = [loader.captions(step, np.array([row]), [0])[0] for step in range(800)]
    assert 0.2 < prompts.count("") / len(prompts) < 0.3
    assert len(set(prompts)) > 6
    assert len({tuple(sorted(prompt.split(", "))) for prompt in prompts if prompt}) == 1


def test_captions_have_sentences_and_weights_count_tags_all_the_same(
    project: Path, params: TrainParams
) -> None:
    path = project / "data/manifest.parquet"
    before, table = samples_of(project), read_table(path, MANIFEST)
    rows = table.to_pylist()
    for row in rows[::2]:
        row["captions"] = [{"kind": "caption", "text": f"A {row['path']} wall."}]
    write_table(pa.Table.from_pylist(rows, MANIFEST), path, MANIFEST)
    forms = CaptionForms(tags=0.0, sentence=1.0, tags_sentence=0.0, sentence_tags=0.0)
    caption = params.caption.model_copy(update={"forms": forms, "drop_all": 0.0, "drop_tag": 0.0})
    samples = load_samples(
        LatentReader(project / "data/latents").index,
        manifest=path,
        tags=project / "data/tags.parquet",
        tag_weighting=True,
        captions=caption,
    )
    assert np.array_equal(samples.weights_N, before.weights_N)
    loader = loader_of(project, params.model_copy(update={"caption": caption}), samples)
    places = list(range(len(samples)))
    asked = loader.captions(3, np.array(places), places)
    sentences = [row["captions"] and row["captions"][0]["text"] for row in rows[HOLDOUT:]]
    assert sum(text is not None for text in sentences) > 20
    assert [text for text in asked if text.startswith("A ")] == [text for text in sentences if text]
    assert [bool(text) for text in sentences] == [text.startswith("A ") for text in asked]
    # Whatever the rest of the batch is, and whichever process makes it.
    assert loader.captions(3, np.array(places[5:9]), places[5:9]) == asked[5:9]


def test_images_with_a_repeated_tag_are_shown_so_much_more_often(
    project: Path, params: TrainParams
) -> None:
    samples = load_samples(
        LatentReader(project / "data/latents").index,
        manifest=project / "data/manifest.parquet",
        tags=project / "data/tags.parquet",
        tag_weighting=False,
        repeats={"smile": 5, "1girl": 2},
    )
    plan = batch_plan(samples, params)
    shown = np.zeros(len(samples))
    for step in range(400):
        bucket, places = plan.batch(step)
        np.add.at(shown, samples.buckets[bucket][places], 1)
    names = [{name for name, _ in samples.prompt_tags(row)} for row in range(len(samples))]
    wanted = [5 if "smile" in tags else 2 if "1girl" in tags else 1 for tags in names]
    np.testing.assert_allclose(shown / shown.sum(), np.array(wanted) / sum(wanted), rtol=0.1)


def test_a_folders_repeats_multiply_those_of_tags(
    project: Path, params: TrainParams, tmp_path: Path
) -> None:
    table = read_table(project / "data/manifest.parquet", MANIFEST)
    by_folder = [3 if number % 4 == 0 else None for number in range(table.num_rows)]
    at = table.schema.get_field_index("repeats")
    manifest = tmp_path / "manifest.parquet"
    column = pa.array(by_folder, pa.int32())
    write_table(table.set_column(at, table.schema.field(at), column), manifest, MANIFEST)

    def shown(repeats: dict[str, int]) -> list[int]:
        samples = load_samples(
            LatentReader(project / "data/latents").index,
            manifest=manifest,
            tags=project / "data/tags.parquet",
            tag_weighting=False,
            repeats=repeats,
        )
        assert samples.repeats_N is not None
        plan = batch_plan(samples, params)
        assert plan.epoch_images == samples.repeats_N.sum()
        tags = [{name for name, _ in samples.prompt_tags(row)} for row in range(len(samples))]
        factor = np.array([repeats.get("smile", 1) if "smile" in names else 1 for names in tags])
        assert (samples.repeats_N % factor == 0).all()
        return (samples.repeats_N // factor).tolist()

    assert set(shown({})) == {1, 3}
    assert shown({}) == shown({"smile": 5})


def test_a_repeated_tag_that_no_image_has_is_named(project: Path) -> None:
    with pytest.raises(NadirError, match=r"no training image has the tag `smil`"):
        load_samples(
            LatentReader(project / "data/latents").index,
            manifest=project / "data/manifest.parquet",
            tags=project / "data/tags.parquet",
            tag_weighting=False,
            repeats={"smil": 5},
        )


def test_smaller_buckets_have_larger_batches_when_asked(project: Path, params: TrainParams) -> None:
    loader = loader_of(project, params.model_copy(update={"batch_size": 12, "batch_multiple": 2}))
    sizes = set()
    for step in range(8):
        batch = loader.batch(step, rank=1, ranks=2)
        height, width = batch.latents_BCHW.shape[2:]
        assert len(batch.timesteps_B) == len(batch.latents_BCHW) == len(batch.noise_BCHW)
        sizes.add((width * 4, height * 4, 2 * len(batch.latents_BCHW)))
    # 12 * 32 * 32 pixels, in multiples of two images.
    assert sizes == {(32, 32, 12), (40, 24, 12)}
    assert loader.images_before(8) == 96


def test_a_batch_that_cannot_be_split_evenly_is_an_error(
    project: Path, params: TrainParams
) -> None:
    with pytest.raises(NadirError, match="cannot be split over 3 processes"):
        loader_of(project, params).batch(0, rank=0, ranks=3)


def test_a_dataset_without_training_latents_is_an_error(project: Path) -> None:
    index = LatentReader(project / "data/latents").index.iloc[:HOLDOUT]
    with pytest.raises(NadirError, match="no training image has a latent"):
        load_samples(
            index,
            manifest=project / "data/manifest.parquet",
            tags=project / "data/tags.parquet",
            tag_weighting=False,
        )


def test_a_mirrored_latent_is_fed_by_a_fair_coin_with_the_crop_of_the_mirrored_image(
    project: Path, params: TrainParams
) -> None:
    plain = loader_of(project, params)
    folder = project / "data/latents"
    index = read_table(folder / "index.parquet", LATENT_INDEX).to_pylist()
    store = LatentStore(folder)
    for row in index[1::2]:  # some images only
        own = LatentReader(folder).rows([index.index(row)])
        shard = store.write_shard(row["bucket"], [f"{row['key']}-flip"], own.flip(3))
        row |= {"flip_key": "f", "flip_shard": shard, "flip_row": 0, "flip_crop_left": 77}
    table = pa.Table.from_pylist(index, LATENT_INDEX)
    write_table(table, folder / "index.parquet", LATENT_INDEX)
    loader = loader_of(project, params)
    mirrored = 0
    for step in range(40):
        before, after = plain.batch(step), loader.batch(step)
        torch.testing.assert_close(after.noise_BCHW, before.noise_BCHW, rtol=0, atol=0)
        flipped = (after.latents_BCHW != before.latents_BCHW).flatten(1).any(1)
        torch.testing.assert_close(
            after.latents_BCHW[flipped], before.latents_BCHW[flipped].flip(3), rtol=0, atol=0
        )
        assert (after.time_ids_B6[flipped, 3] == 77).all()
        torch.testing.assert_close(after.time_ids_B6[~flipped], before.time_ids_B6[~flipped])
        mirrored += int(flipped.sum())
        part = loader.batch(step, rank=1, ranks=2)
        torch.testing.assert_close(part.latents_BCHW, after.latents_BCHW[4:], rtol=0, atol=0)
    # A quarter of 320: half of the images have a mirrored one, and the coin is fair.
    assert 50 < mirrored < 110
