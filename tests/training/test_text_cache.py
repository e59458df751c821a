"""Text states that are made once: equal to those made in each step, kept, shared out, refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.test_trainer import (
    FINGERPRINT,
    QUIET,
    assert_equal_weights,
    change_params,
    train,
    weights,
)
from tests.training.text_state_ranks import make_beside_another
from tests.training.trainable.adapter_cases import RATES

from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.ground.errors import NadirError
from nadir.model.sdxl.text import TextEncoder
from nadir.training.loader import BatchLoader
from nadir.training.main import make_accelerator, prepare_run
from nadir.training.reports.reporter import NoReporter
from nadir.training.stop_request import StoppedError, StopRequest
from nadir.training.text_states import making
from nadir.training.text_states.key import states_key
from nadir.training.text_states.store import writing

FIXED = {"shuffle": False, "drop_tag": 0.0, "drop_all": 0.3}
SHORT = QUIET | {"steps": 4, "warmup_steps": 1, "optimizer": "adamw"}


def set_caption(**changes: Any) -> None:
    caption = read_section("train", TrainParams).caption.model_dump(mode="json")
    change_params(caption=caption | changes)


def loader(project: Path, stop: StopRequest | None = None, **changes: Any) -> BatchLoader:
    change_params(**QUIET | changes)
    params = read_section("train", TrainParams)
    accelerator = make_accelerator(params)
    work = project / "run"
    return prepare_run(work, FINGERPRINT, params, accelerator, NoReporter(), stop=stop).loader


def files(project: Path) -> dict[str, bytes]:
    folder = project / "work/text_states"
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*/*.safetensors"))}


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every caption that is encoded, the empty one aside."""
    found: list[str] = []
    real = TextEncoder.encode

    def encode(text: TextEncoder, prompts: Any, chunks: int = 1) -> Any:
        found.extend(prompt for prompt in prompts if prompt)
        return real(text, prompts, chunks)

    monkeypatch.setattr(TextEncoder, "encode", encode)
    return found


def test_states_of_the_same_captions_train_the_same_weights(
    project: Path, base: Path, tmp_path: Path
) -> None:
    """To fp16's rounding."""
    set_caption(**FIXED)
    anew, kept = (loader(project, text_cache=number).batch(1) for number in (None, 3))
    assert not torch.equal(kept.hidden_BSD, anew.hidden_BSD)
    torch.testing.assert_close(kept.hidden_BSD, anew.hidden_BSD, rtol=2**-11, atol=1e-6)
    torch.testing.assert_close(kept.pooled_BP, anew.pooled_BP, rtol=2**-11, atol=1e-6)
    train(tmp_path / "anew", **SHORT, text_cache=None)
    train(tmp_path / "kept", **SHORT, text_cache=3)
    (path,) = (base / "unet").glob("*.safetensors")
    places = (load_file(path), weights(tmp_path / "anew"), weights(tmp_path / "kept"))
    start, one, two = (torch.cat([place[n].flatten() for n in places[0]]) for place in places)
    assert (one - two).abs().mean() < 0.01 * (one - start).abs().mean()


def test_states_in_bfloat16_train_the_same_weights_to_the_bit(
    project: Path, tmp_path: Path
) -> None:
    set_caption(**FIXED)
    train(tmp_path / "anew16", **SHORT, text_cache=None, mixed_precision="bf16")
    train(tmp_path / "kept16", **SHORT, text_cache=3, mixed_precision="bf16")
    assert_equal_weights(tmp_path / "anew16", tmp_path / "kept16")


def test_a_step_gets_the_states_of_the_captions_it_asks_for(
    project: Path, encoded: list[str]
) -> None:
    made = loader(project, text_cache=3, batch_size=8)
    samples, params = made._samples, made._params
    asked: dict[str, set[str]] = {}
    for step in range(40):
        bucket, within = made._plan.rank_batch(step, 0, 1)
        rows, places = samples.buckets[bucket][within], range(8)
        captions = made.captions(step, rows, places)
        if step < 3:
            batch = made.batch(step)
            alone, chunks = captions[5:6], params.caption.token_chunks
            hidden, pooled = making.states_of(made._text, alone, chunks)
            assert torch.equal(batch.hidden_BSD[5], hidden[0].float())
            assert torch.equal(batch.pooled_BP[5], pooled[0].float())
        for row, caption in zip(rows, captions, strict=True):
            asked.setdefault(samples.hashes[row], set()).add(caption)
    numbers = {len(captions - {""}) for captions in asked.values()}
    assert max(numbers) == 3
    assert any("" in captions for captions in asked.values())
    part = made.batch(1, rank=1, ranks=2)
    assert torch.equal(part.hidden_BSD, made.batch(1).hidden_BSD[4:])


def test_a_resumed_training_is_equal_and_encodes_nothing(
    project: Path, tmp_path: Path, encoded: list[str]
) -> None:
    train(tmp_path / "straight", **SHORT, text_cache=2)
    assert encoded
    encoded.clear()
    with pytest.raises(StoppedError):
        train(tmp_path / "stopped", stop_at=2, **SHORT, text_cache=2)
    train(tmp_path / "stopped", **SHORT, text_cache=2)
    assert_equal_weights(tmp_path / "straight", tmp_path / "stopped")
    assert encoded == []


def test_what_was_finished_before_a_stop_is_not_made_again(
    project: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loader(project, text_cache=2)
    whole, files_whole = list(encoded), files(project)
    assert len(files_whole) == 1
    assert len(set(whole)) == len(whole)
    for path in (project / "work/text_states").glob("*/*"):
        path.unlink()
    encoded.clear()
    monkeypatch.setattr(making, "FILE_BYTES", 1)  # 16 captions a file
    stop = StopRequest()
    real = making.write_states

    def write_two(*arguments: Any) -> None:
        real(*arguments)
        stop.requested = len(files(project)) == 2

    monkeypatch.setattr(making, "write_states", write_two)
    with pytest.raises(StoppedError):
        loader(project, stop, text_cache=2)
    before = files(project)
    assert len(before) == 2
    loader(project, text_cache=2)
    assert sorted(encoded) == sorted(whole)  # none twice
    assert before.items() <= files(project).items()
    (kept,) = [load_file(path) for path in _write(project / "one", files_whole)]
    again = [load_file(path) for path in _write(project / "many", files(project))]
    parts = sorted(tuple(row.tolist()) for file in again for row in file["pooled"])
    assert parts == sorted(tuple(row.tolist()) for row in kept["pooled"])
    encoded.clear()
    loader(project, text_cache=3)
    assert 0 < len(encoded) < len(whole)  # more variants are made beside those that are there


def _write(folder: Path, found: dict[str, bytes]) -> list[Path]:
    folder.mkdir()
    for name, content in found.items():
        (folder / name).write_bytes(content)
    return sorted(folder.iterdir())


def test_a_damaged_file_is_made_again(
    project: Path, encoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = loader(project, text_cache=1).batch(0)
    (path,) = (project / "work/text_states").glob("*/*.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    encoded.clear()
    after = loader(project, text_cache=1).batch(0)
    assert torch.equal(after.hidden_BSD, before.hidden_BSD)
    assert encoded
    assert "is made again" in capsys.readouterr().out


def test_processes_share_out_alike_while_another_training_writes(
    base: Path, tmp_path: Path
) -> None:
    captions = [f"{number} foxes" for number in range(32)]
    assert make_beside_another(base, tmp_path / "states", captions) == [0, 0]


def test_what_a_killed_training_left_half_written_is_swept_away(project: Path) -> None:
    loader(project, text_cache=1)
    (path,) = (project / "work/text_states").glob("*/*.safetensors")
    left = path.with_name(f".{path.name}.abc.tmp")
    left.touch()
    with writing(path.parent):  # another training
        loader(project, text_cache=1)
    assert left.exists()
    loader(project, text_cache=1)
    assert not left.exists()
    assert path.exists()


def test_a_check_makes_the_states_of_its_steps_alone(project: Path, encoded: list[str]) -> None:
    change_params(**QUIET, text_cache=2)
    params = read_section("train", TrainParams)
    accelerator = make_accelerator(params)
    run = prepare_run(project / "run", "f", params, accelerator, NoReporter(), steps=2)
    assert 0 < len(encoded) <= 2 * 2 * params.batch_size
    for step in (0, 1):
        assert run.loader.batch(step).hidden_BSD.isfinite().all()


def test_text_encoders_wait_on_the_host(project: Path) -> None:
    assert loader(project, text_cache=None)._text.visits is None
    assert loader(project, text_cache=1)._text.visits == torch.device("cpu")


def test_the_key_is_of_grammar_seed_precision_and_encoders(project: Path, tmp_path: Path) -> None:
    params, base = read_section("train", TrainParams), Path("models/base").resolve()

    def key(folder: Path = base, caption: dict[str, Any] | None = None, **changes: Any) -> str:
        own = params.caption.model_copy(update=caption or {})
        return states_key(params.model_copy(update={"caption": own, **changes}), folder)

    assert key() == key(text_cache=5) == key(caption={"drop_all": 0.7}) == key(learning_rate=1.0)
    other = tmp_path / "base"
    for path in base.glob("*/*"):
        (other / path.parent.name).mkdir(parents=True, exist_ok=True)
        (other / path.parent.name / path.name).write_bytes(path.read_bytes())
    assert key(other) == key()
    weight_file = next(other.glob("text_encoder_2/*.safetensors"))
    weight_file.write_bytes(weight_file.read_bytes()[:-1] + b"\x01")
    others = [key(other), key(caption={"prefix": "a"}), key(caption={"token_chunks": 2})]
    others += [key(seed=1), key(mixed_precision="bf16")]
    assert len({*others, key()}) == 6


def test_trained_text_encoders_refuse_it(project: Path) -> None:
    change_params(text_cache=2, text_encoders=RATES)
    with pytest.raises(NadirError, match="text_cache null, or text_encoders null"):
        read_section("train", TrainParams)


def test_states_beyond_fp16_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = TextEncoder.encode

    def encode(text: TextEncoder, prompts: Any, chunks: int = 1) -> Any:
        hidden, pooled = real(text, prompts, chunks)
        return hidden * 1e6, pooled

    monkeypatch.setattr(TextEncoder, "encode", encode)
    with pytest.raises(NadirError, match=re.escape("beyond what fp16 holds")):
        loader(project, text_cache=1)
