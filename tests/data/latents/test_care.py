"""Checking and compacting latents: every kind of damage is named, and nothing live is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.data.latents.test_store import keys_of, known, latents_of

from nadir.data.latents.checks import set_aside, verify
from nadir.data.latents.compaction import compact
from nadir.data.latents.shards import is_intact, map_shard, shard_name, write_shard
from nadir.data.latents.store import LatentReader, LatentStore
from nadir.data.tables import LATENT_INDEX, write_table
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 12
BUCKET = "48x32"


def write_output(folder: Path, store: LatentStore, keys: list[str]) -> None:
    """Link the shards that hold the keys, and index them."""
    places = store.places()
    found = places.find(pa.array(keys))
    shards = places.shards_of(found).tolist()
    store.link_into(folder, shards)
    rows = [
        {
            "key": key, "sha256": f"{number:064x}", "shard": shard, "row": row, "bucket": BUCKET,
            "bucket_width": 48, "bucket_height": 32, "original_width": 96, "original_height": 64,
            "crop_left": 0, "crop_top": 0,
        }
        for number, (key, shard, row) in enumerate(
            zip(keys, shards, places.row[found].tolist(), strict=True)
        )
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, LATENT_INDEX)
    write_table(table, folder / "index.parquet", LATENT_INDEX)


@pytest.fixture
def store(tmp_path: Path) -> LatentStore:
    """Twelve latents in shards of two; data/latents uses all but the last three."""
    store = LatentStore(tmp_path / "store")
    latents = latents_of(ROWS)
    for start in range(0, ROWS, 2):
        keys = keys_of(*range(start, start + 2))
        store.write_shard(BUCKET, keys, latents[start : start + 2])
    write_output(tmp_path / "output", store, keys_of(*range(ROWS - 3)))
    return store


def change_index(folder: Path, change: Callable[[list[dict[str, object]]], object]) -> None:
    rows = pa.Table.from_pandas(LatentReader(folder).index, LATENT_INDEX).to_pylist()
    change(rows)
    table = pa.Table.from_pylist(rows, LATENT_INDEX)
    write_table(table, folder / "index.parquet", LATENT_INDEX)


def test_whole_latents_have_no_fault_and_each_file_is_read_once(
    store: LatentStore, tmp_path: Path
) -> None:
    found = verify(store, tmp_path / "output")
    assert found.faults == ()
    assert (found.shards, found.latents) == (6, ROWS)
    assert found.size == sum(path.stat().st_size for path in store.shards())
    assert verify(LatentStore(tmp_path / "empty"), tmp_path / "none").faults == ()


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    with path.open("r+b") as file:  # in place: every link has it
        file.write(data)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (flip_a_bit, "its content has another checksum than its name"),
        (lambda path: os.truncate(path, path.stat().st_size - 1), "cannot be read"),
    ],
)
def test_a_damaged_shard_is_named_set_aside_under_both_names_and_missing_then(
    store: LatentStore, tmp_path: Path, damage: Callable[[Path], object], what: str
) -> None:
    bad = store.root / known(store)[keys_of(3)[0]][0]
    damage(bad)
    found = verify(store, tmp_path / "output")
    assert {fault.path for fault in found.faults} == {bad, tmp_path / "output" / bad.name}
    assert all(what in fault.what for fault in found.faults)
    with store.alone():
        (moved,) = set_aside(store, found.faults)
    assert moved.parent == store.root / "damaged"
    assert not bad.exists()
    assert not (tmp_path / "output" / bad.name).exists()
    assert set(known(store)) == set(keys_of(*(n for n in range(ROWS) if n not in (2, 3))))


@pytest.mark.parametrize(
    ("latents", "what"),
    [
        (torch.full((1, 4, 4, 6), torch.inf), "a latent is not finite"),
        (torch.zeros(1, 4, 4, 7), "latents of shape [1, 4, 4, 7] do not fit bucket 48x32"),
    ],
)
def test_latents_that_were_never_right_are_found(
    store: LatentStore, tmp_path: Path, latents: torch.Tensor, what: str
) -> None:
    write_shard(store.root, BUCKET, ["key"], latents.numpy())
    (fault,) = verify(store, tmp_path / "output").faults
    assert fault.what == what


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda rows: rows[0].update(row=1), "1 rows of .* are others than it says"),
        (lambda rows: rows[0].update(row=2), "1 rows of .* are others than it says"),
        (lambda rows: rows[0].update(key="other"), "1 rows of .* are others than it says"),
        (lambda rows: rows[0].update(bucket="32x48"), "are said to be of another bucket"),
        (lambda rows: rows[0].update(shard="48x32-no.safetensors"), "which is not there"),
        (lambda rows: rows.reverse(), "its images are not sorted"),
        (lambda rows: rows[0].update(sha256=rows[1]["sha256"]), "or one is there twice"),
        (lambda rows: rows.pop(), "no row of the index lies in it"),
        (
            lambda rows: rows[0].update(
                flip_key="f", flip_shard=rows[0]["shard"], flip_row=0, flip_crop_left=0
            ),
            "1 rows of .* are others than it says",
        ),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_named(
    store: LatentStore,
    tmp_path: Path,
    change: Callable[[list[dict[str, object]]], object],
    what: str,
) -> None:
    change_index(tmp_path / "output", change)
    faults = verify(store, tmp_path / "output").faults
    assert len(faults) == 1
    assert faults[0].path.parent == tmp_path / "output"
    assert re.search(what, faults[0].what)


def test_compaction_merges_and_drops_and_leaves_other_links_alone(
    store: LatentStore, tmp_path: Path
) -> None:
    output, live = tmp_path / "output", keys_of(*range(ROWS - 3))
    before = LatentReader(output).rows(range(len(live)))
    done = compact(store, pa.chunked_array([live]), 1 << 20)
    assert (done.shards_before, done.shards_after, done.dead_rows) == (6, 1, 3)
    assert done.bytes_after == sum(path.stat().st_size for path in store.shards())
    assert done.bytes_after < done.bytes_before
    assert done.held_bytes == sum(path.stat().st_size for path in output.glob("*.safetensors"))
    assert sorted(known(store)) == sorted(live)
    torch.testing.assert_close(LatentReader(output).rows(range(len(live))), before)
    write_output(tmp_path / "later", store, live)
    torch.testing.assert_close(LatentReader(tmp_path / "later").rows(range(len(live))), before)
    assert verify(store, tmp_path / "later").faults == ()
    again = compact(store, pa.chunked_array([live]), 1 << 20)
    assert again.dead_rows == 0
    assert again.bytes_after == done.bytes_after


def test_compaction_may_keep_unused_rows_and_drops_what_is_there_twice(store: LatentStore) -> None:
    store.write_shard(BUCKET, keys_of(0, 1, 99), latents_of(3))
    done = compact(store, None, 1 << 20)
    assert (done.shards_after, done.dead_rows) == (1, 2)
    assert set(known(store)) == set(keys_of(*range(ROWS), 99))


def test_compaction_keeps_shards_below_the_limit_and_full_ones_as_they_are(
    tmp_path: Path,
) -> None:
    store = LatentStore(tmp_path)
    row = latents_of(1)[0].nbytes
    limit = 1024 + 8 * (row + 72)  # eight rows
    full = store.write_shard(BUCKET, keys_of(*range(8)), latents_of(8))
    for number in range(8, 20):
        store.write_shard(BUCKET, keys_of(number), latents_of(1, seed=number))
    written = (tmp_path / full).stat().st_mtime_ns
    done = compact(store, None, limit)
    assert done.shards_after == 3
    assert max(path.stat().st_size for path in store.shards()) <= limit
    assert (tmp_path / full).stat().st_mtime_ns == written


def test_compaction_does_not_pass_damage_on(
    store: LatentStore, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = store.root / known(store)[keys_of(3)[0]][0]
    flip_a_bit(bad)
    compact(store, None, 1 << 20)
    assert bad.exists()
    assert not is_intact(bad)
    assert f"{bad.name} is damaged and stays as it is" in capsys.readouterr().out


def test_nobody_compacts_while_another_encodes(store: LatentStore) -> None:
    with store.in_use(), store.in_use():
        with pytest.raises(NadirError, match="another process is encoding") as caught:
            compact(store, None, 1 << 20)
        assert caught.value.fix == "wait for it, then run the command again"


_COMPACT = """
import sys, time
from pathlib import Path
from nadir.data.latents import compaction as latent_compaction
from nadir.data.latents.store import LatentStore
write = latent_compaction.write_shard
def slow(*arguments):
    name = write(*arguments)
    print(name, flush=True)
    time.sleep(float(sys.argv[2]))
    return name
latent_compaction.write_shard = slow
latent_compaction.compact(LatentStore(Path(sys.argv[1])), None, 4096)
"""


@pytest.mark.parametrize("shards_written", [1, 3])
def test_a_killed_compaction_loses_nothing_and_the_next_one_ends_it(
    store: LatentStore, shards_written: int
) -> None:
    before = {key: store_row(store, key) for key in known(store)}
    command = [sys.executable, "-c", _COMPACT, str(store.root), "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(shards_written):
            process.stdout.readline()
        time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert {key: store_row(store, key).tobytes() for key in known(store)} == {
        key: row.tobytes() for key, row in before.items()
    }
    compact(store, None, 1 << 20)
    assert len(store.shards()) == 1
    assert {key: store_row(store, key).tobytes() for key in known(store)} == {
        key: row.tobytes() for key, row in before.items()
    }


def store_row(store: LatentStore, key: str) -> np.ndarray:
    shard, row = known(store)[key]
    return np.array(map_shard(store.root / shard)[row])


def test_a_shard_is_named_by_bucket_keys_and_latents() -> None:
    latents = latents_of(1).numpy()
    names = {
        shard_name(BUCKET, ["a"], latents),
        shard_name(BUCKET, ["b"], latents),
        shard_name("32x48", ["a"], latents),
        shard_name(BUCKET, ["a"], latents + 1),
    }
    assert len(names) == 4
