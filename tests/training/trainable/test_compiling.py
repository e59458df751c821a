"""Compiled blocks: a graph for each shape, the same weights and files, and exact resume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.test_trainer import QUIET, Recorder, assert_equal_weights, train, weights
from tests.training.trainable.test_settings import LORA
from torch._dynamo.utils import counters
from torch._inductor.cpp_builder import cpp_compiler_search

from nadir.ground.errors import NadirError
from nadir.model.sdxl.networks import load_unet
from nadir.training import compiling

CPU = torch.device("cpu")
SHAPES = [(8, 8), (6, 10), (12, 12)]
SHORT = QUIET | {"steps": 6, "checkpoint_every": 3, "optimizer": "adamw", "compile": "blocks"}


@pytest.fixture(autouse=True)
def _no_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(recompile_limit=8, accumulated_recompile_limit=256):
        yield
    torch._dynamo.reset()


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are made as always, but run with torch's own kernels, which takes no minutes."""
    how = {**compiling._HOW, "backend": "aot_eager"}
    del how["options"]
    monkeypatch.setattr(compiling, "_HOW", how)


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def numbers(recorder: Recorder) -> list[float]:
    """Losses and gradient norms. Single weights differ more: AdamW makes whole steps of a bias in
    front of a norm, whose gradient is rounding alone."""
    return [found[name] for *_, found in recorder.steps for name in ("loss", "gradient_norm")]


def passes(network: Any, height: int, width: int, images: int = 2) -> None:
    """Forward and backward."""
    config = network.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    sizes = {"text_embeds": torch.zeros(images, pooled), "time_ids": torch.zeros(images, 6)}
    network(
        torch.zeros(images, 4, height, width),
        torch.zeros(images, dtype=torch.int64),
        encoder_hidden_states=torch.zeros(images, 77, config.cross_attention_dim),
        added_cond_kwargs=sizes,
    ).sample.sum().backward()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.usefixtures("without_kernels")
def test_every_kind_of_block_has_one_graph_for_each_shape(base: Path, checkpointing: bool) -> None:
    network = load_unet(base).train()
    if checkpointing:
        network.enable_gradient_checkpointing()
    names = list(network.state_dict())
    blocks = compiling.compile_blocks(network, CPU)
    assert blocks == sum("transformer_blocks" in n and n.endswith("norm1.weight") for n in names)
    before = graphs()  # the trial's own
    for _ in range(2):
        for height, width in SHAPES:
            passes(network, height, width)
    passes(network, 10, 6)  # as many tokens as 6 x 10
    assert graphs() - before == len(SHAPES)
    assert list(network.state_dict()) == names


@pytest.mark.usefixtures("without_kernels")
def test_more_graphs_than_are_allowed_is_an_error(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "MAX_GRAPHS", 2)
    network = load_unet(base).train()
    compiling.compile_blocks(network, CPU)
    with (
        pytest.raises(NadirError, match="more than 2 graphs") as caught,
        compiling.compilation_faults(),
    ):
        for height, width in SHAPES:
            passes(network, height, width)
    assert "bucket.max_buckets" in caught.value.fix


def test_a_machine_without_a_compiler_is_refused_before_the_first_step(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpp_compiler_search.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    with pytest.raises(NadirError, match=r"No working C\+\+ compiler") as caught:
        train(tmp_path / "w", **SHORT)
    assert caught.value.where == "params.yaml train.compile"
    assert "g++" in caught.value.fix
    assert "'off'" in caught.value.fix


def test_a_compiled_training_resumes_to_the_bit(project: Path, tmp_path: Path) -> None:
    """The resumed one makes its graphs anew, and meets first the shape that came second."""
    compiled = train(tmp_path / "straight", **SHORT)
    made = graphs()
    torch._dynamo.reset()
    with pytest.raises(NadirError, match="stopped"):
        train(tmp_path / "w", stop_at=2)
    assert [path.name for path in (tmp_path / "w/checkpoints").iterdir()] == ["step-000003"]
    torch._dynamo.reset()
    train(tmp_path / "w")
    assert_equal_weights(tmp_path / "straight", tmp_path / "w")
    torch._dynamo.reset()
    counters.clear()
    eager = train(tmp_path / "eager", compile="off")
    assert graphs() == 0 < made
    assert numbers(compiled) == pytest.approx(numbers(eager), rel=1e-4)
    assert weights(tmp_path / "eager").keys() == weights(tmp_path / "straight").keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_accumulation": 2, "activation_offload": True},
        {"step_in_backward": True, "gradient_checkpointing": True},
        {"preview_every": 2, "validation": {"every": 2, "images": 6, "levels": 1}},
    ],
)
@pytest.mark.usefixtures("without_kernels")
def test_compiled_blocks_train_what_others_do(
    project: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Also with steps inside backward; looking at the training takes no graphs."""
    shared = SHORT | changes
    compiled = train(tmp_path / "compiled", **shared)
    assert 1 < graphs() <= 4
    eager = train(tmp_path / "eager", **shared | {"compile": "off"})
    assert numbers(compiled) == pytest.approx(numbers(eager), rel=1e-4)


@pytest.mark.parametrize("kind", ["lora", "oft"])
@pytest.mark.usefixtures("without_kernels")
def test_blocks_with_adapters_are_compiled_too(project: Path, tmp_path: Path, kind: str) -> None:
    shared = SHORT | {"adapter": LORA | {"kind": kind}}
    compiled = train(tmp_path / "compiled", **shared)
    assert 1 < graphs() <= 5
    eager = train(tmp_path / "eager", **shared | {"compile": "off"})
    assert numbers(compiled) == pytest.approx(numbers(eager), rel=1e-4)
