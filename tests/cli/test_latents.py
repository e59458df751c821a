"""`nadir latents`: what it prints, its exit codes, and that DVC brings no damage back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from tests.data.latents.test_care import BUCKET, flip_a_bit, write_output
from tests.data.latents.test_store import keys_of, latents_of

from nadir.cli import main
from nadir.data.latents.store import LatentReader, LatentStore

if TYPE_CHECKING:
    from collections.abc import Callable

# What `encode` does, without images: latents that the store lacks are made again.
ENCODE = """
import sys
from pathlib import Path
import pyarrow as pa
sys.path.insert(0, sys.argv[1])
from tests.data.latents.test_care import BUCKET, write_output
from tests.data.latents.test_store import keys_of, latents_of
from nadir.data.latents.store import LatentStore
store, output, keys = LatentStore(Path("work/latents")), Path("data/latents"), keys_of(*range(6))
store.adopt(output, pa.array(keys))
for number in range(6):
    if store.places().find(pa.array(keys[number : number + 1]))[0] < 0:
        print("encoded", number)
        store.write_shard(BUCKET, keys[number : number + 1], latents_of(6)[number : number + 1])
write_output(output, store, keys)
"""


@pytest.fixture
def project(tmp_path: Path, root: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text(params_text, encoding="utf-8")
    (tmp_path / "encode.py").write_text(ENCODE, encoding="utf-8")
    (tmp_path / "dvc.yaml").write_text(
        f"stages:\n  encode:\n    cmd: {sys.executable} encode.py {root}\n"
        "    deps: [encode.py]\n    outs: [data/latents]\n"
    )
    store = LatentStore(tmp_path / "work/latents")
    for number in range(6):
        store.write_shard(BUCKET, keys_of(number), latents_of(6)[number : number + 1])
    write_output(tmp_path / "data/latents", store, keys_of(*range(6)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def nadir(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nadir", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        return int(end.value.code or 0), told.out, told.err

    return call


def test_good_latents_end_with_zero(
    project: Path, nadir: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, _ = nadir("latents", "verify")
    assert status == 0
    assert "6 shards, 6 latents, 3.6 kB were read" in out
    assert out.endswith("all of them are good\n")


def test_damage_ends_with_one_and_is_only_told_in_a_dry_run(
    project: Path, nadir: Callable[..., tuple[int, str, str]]
) -> None:
    bad = sorted((project / "data/latents").glob("*.safetensors"))[2]
    flip_a_bit(bad)
    for _ in range(2):
        status, _, error = nadir("latents", "verify", "--dry-run")
        assert status == 1
        assert "error: latents: 2 faults\n" in error
        assert f"  data/latents/{bad.name}: its content has another checksum" in error
        assert "fix: `nadir latents verify` without --dry-run sets these files aside" in error
    status, _, error = nadir("latents", "verify")
    assert status == 1
    assert "moved to work/latents/damaged; `nadir run` encodes again what they held" in error
    assert not bad.exists()


def test_compaction_says_what_it_saved(
    project: Path, nadir: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, _ = nadir("latents", "compact")
    assert status == 0
    assert out.startswith("work/latents: 6 shards, ")
    assert " -> 1 shards, " in out
    assert "; 0 unused rows dropped\n" in out
    assert "are still linked from data/latents or DVC's cache" in out
    assert len(LatentReader(project / "data/latents")) == 6
    assert nadir("latents", "verify")[0] == 0


def test_compaction_without_an_index_is_an_error(
    project: Path, nadir: Callable[..., tuple[int, str, str]]
) -> None:
    shutil.rmtree(project / "data/latents")
    status, _, error = nadir("latents", "compact")
    assert status == 1
    assert "index.parquet: the table is missing" in error


def dvc(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        check=True, capture_output=True, text=True, env={**os.environ, "DVC_NO_ANALYTICS": "1"},
    )  # fmt: skip
    return done.stdout


def test_dvc_has_what_was_set_aside_made_again_instead_of_restoring_the_damage(
    project: Path, nadir: Callable[..., tuple[int, str, str]]
) -> None:
    dvc("init", "--no-scm", "--quiet")
    dvc("config", "cache.type", "hardlink")
    dvc("repro")
    bad = sorted((project / "data/latents").glob("*.safetensors"))[2]
    assert bad.stat().st_nlink == 3  # output, store, DVC's cache
    bad.chmod(0o644)  # DVC protects it; disks do not care
    flip_a_bit(bad)
    bad.chmod(0o444)
    assert nadir("latents", "verify")[0] == 1
    out = dvc("repro")
    assert out.count("encoded") == 1
    torch.testing.assert_close(
        LatentReader(project / "data/latents").rows(range(6)), latents_of(6), rtol=0, atol=0
    )
    assert nadir("latents", "verify")[0] == 0
