"""The comparison of two workspaces sees what differs, and only that."""

from __future__ import annotations

import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file


def write_latents(root: Path, latents_NCHW: np.ndarray, order: list[int]) -> None:
    """Latents of images a and b, in rows of this order."""
    folder = root / "data/latents"
    folder.mkdir(parents=True, exist_ok=True)
    shard = f"8x8-{''.join(map(str, order))}.safetensors"
    save_file({"latents": np.ascontiguousarray(latents_NCHW[order])}, folder / shard)
    rows = {"sha256": ["a", "b"], "bucket": "8x8", "key": ["ka", "kb"], "shard": shard}
    rows["row"] = np.argsort(order)
    nothing = dict.fromkeys(("flip_shard", "flip_row"))
    pd.DataFrame(rows | nothing).to_parquet(folder / "index.parquet")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two workspaces with equal values that lie in another order."""
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "reports").mkdir(parents=True)
    manifest = pd.DataFrame({"sha256": ["a", "b"], "split": ["train", "holdout"]})
    write_latents(old, np.arange(8.0).reshape(2, 1, 2, 2), [0, 1])
    manifest.to_parquet(old / "data/manifest.parquet")
    (old / "reports/loss.csv").write_text("step,images,loss\n1,4,0.8553369\n2,8,1.5\n")
    shutil.copytree(old, new)
    write_latents(new, np.arange(8.0).reshape(2, 1, 2, 2), [1, 0])
    manifest[::-1].to_parquet(new / "data/manifest.parquet")
    (new / "reports/loss.csv").write_text("step,images,loss\n1,4,0.8553371\n2,8,1.5\n")
    return old, new


Compare = Callable[[tuple[Path, Path]], tuple[int, str]]


@pytest.fixture
def compare(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Compare:
    """Code and output of the script."""

    def run(pair: tuple[Path, Path]) -> tuple[int, str]:
        script = str(root / "scripts/compare_outputs.py")
        monkeypatch.setattr(sys, "argv", [script, *map(str, pair)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(script, run_name="__main__")
        return int(end.value.code or 0), capsys.readouterr().out

    return run


def test_order_place_and_a_seventh_digit_of_a_loss_are_no_difference(
    compare: Compare, pair: tuple[Path, Path]
) -> None:
    _, text = compare(pair)
    for name in ("manifest.parquet", "index.parquet", "index.parquet (values)"):
        assert f"equal    data/{'latents/' * name.startswith('index')}{name}\n" in text
    assert "equal    reports/loss.csv" in text


def test_each_difference_is_named(compare: Compare, pair: tuple[Path, Path]) -> None:
    latents_NCHW = np.arange(8.0).reshape(2, 1, 2, 2)
    latents_NCHW[1, 0, 0, 0] += 0.25
    write_latents(pair[1], latents_NCHW, [0, 1])
    manifest = {"sha256": ["a", "c"], "split": ["holdout", "train"], "rating": None}
    pd.DataFrame(manifest).to_parquet(pair[1] / "data/manifest.parquet")
    (pair[1] / "reports/loss.csv").write_text("step,images,loss\n1,4,0.855338\n2,8,1.5\n")
    code, text = compare(pair)
    assert code == 1
    for line in (
        "latent: 1 of 2 differ, by 0.25 at most (b, 8x8)",
        "columns only in new: rating",
        "1 rows only in old, such as b",
        "1 rows only in new, such as c",
        "split: 1 of 1 differ, such as train → holdout (a)",
        "loss: 1 of 2 differ, such as 0.8553369 → 0.855338 (1, 4)",
    ):
        assert line in text
