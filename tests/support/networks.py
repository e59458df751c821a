"""Small networks of others, written as their own programs write them: ONNX files, folders."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, Dinov2Config, Dinov2Model

from nadir.ground.files import file_hash

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 16


def _write(
    file: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], **tensors: np.ndarray
) -> dict[str, str]:
    """An ONNX file; returns its path and hash as in params.yaml."""
    constants = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape) for shape in inputs],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape) for shape in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))
    return {"path": str(file), "sha256": file_hash(file)}


def pooled_network(
    file: Path, weights_3F: np.ndarray, *, layout: str = "NCHW", bias: float = 0.0, side: Any = SIDE
) -> dict[str, str]:
    """Mean of each channel @ weights + bias, through a sigmoid where channels are last."""
    last = layout == "NHWC"
    axes, shape = ([1, 2], ["n", side, side, 3]) if last else ([2, 3], ["n", 3, side, side])
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["score"]),
        helper.make_node("Add", ["score", "bias"], ["sum" if last else "output"]),
    ]
    if last:
        nodes.append(helper.make_node("Sigmoid", ["sum"], ["output"]))
    return _write(
        file, nodes, [shape], [["n", weights_3F.shape[1]]],
        weights=weights_3F.astype(np.float32), bias=np.array([bias], np.float32),
    )  # fmt: skip


def tagger(folder: Path, tags: dict[str, tuple[float, float, float]]) -> dict[str, Any]:
    """A tagger that sees a tag where the mean colour (R, G, B in 0 to 1) agrees with its own.

    Its table begins with a rating, as those of WD do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [("general", "9", (0.0, 0.0, 0.0))] + [(n, "0", c) for n, c in tags.items()]
    with (folder / "selected_tags.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["tag_id", "name", "category", "count"])
        table.writerows([(i, name, kind, 100) for i, (name, kind, _) in enumerate(rows)])
    # Channels come as blue, green, red in 0 to 255.
    weights = np.array([colour[::-1] for _, _, colour in rows]).T / 255 * 20
    given = pooled_network(folder / "model.onnx", weights, layout="NHWC", bias=-10)
    table_file = folder / "selected_tags.csv"
    return {
        **given, "tags": str(table_file), "tags_sha256": file_hash(table_file), "threshold": 0.35,
    }  # fmt: skip


def character(folder: Path) -> dict[str, str]:
    """CCIP's two files: the mean colour, and half the sum of differences of each from each."""
    folder.mkdir(parents=True, exist_ok=True)
    features = pooled_network(folder / "model_feat.onnx", np.eye(3))
    axes_1, axes_0 = np.array([1], np.int64), np.array([0], np.int64)
    nodes = [
        helper.make_node("Unsqueeze", ["input", "one"], ["rows"]),
        helper.make_node("Unsqueeze", ["input", "zero"], ["columns"]),
        helper.make_node("Sub", ["rows", "columns"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["size"]),
        helper.make_node("ReduceMean", ["size"], ["output"], axes=[2], keepdims=0),
    ]
    other = _write(
        folder / "model_metrics.onnx", nodes, [["n", 3]], [["n", "m"]], one=axes_1, zero=axes_0
    )
    return {**features, "differences": other["path"], "differences_sha256": other["sha256"]}


def clip_folder(folder: Path) -> dict[str, str]:
    """An untrained CLIP with a tokenizer of single letters."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,_"
    names = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: place for place, name in enumerate(names)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[])
    tokenizer.save_pretrained(folder)
    part = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={
            **part, "vocab_size": len(vocabulary), "num_attention_heads": 2,
            "bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1,
        },
        vision_config={**part, "image_size": SIDE, "patch_size": 8, "num_attention_heads": 2},
        projection_dim=8,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    return {"path": str(folder), "sha256": file_hash(folder / "model.safetensors")}


def dinov2_folder(folder: Path) -> dict[str, str]:
    """An untrained DINOv2."""
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    Dinov2Model(config).save_pretrained(folder)
    return {"path": str(folder), "sha256": file_hash(folder / "model.safetensors")}
