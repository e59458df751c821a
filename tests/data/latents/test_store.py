"""The latent store and reader: found by content, never half-written, read without copies."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
import torch

from nadir.data.latents.shards import is_intact
from nadir.data.latents.store import LatentReader, LatentStore, latent_key
from nadir.data.tables import LATENT_INDEX, write_table
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path


def keys_of(*numbers: int) -> list[str]:
    return [latent_key(f"{number:064x}", "encoder", "64x64") for number in numbers]


def latents_of(count: int, height: int = 4, width: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 4, height, width, generator=torch.Generator().manual_seed(seed))


def known(store: LatentStore) -> dict[str, tuple[str, int]]:
    """Shard and row of every key."""
    places = store.places()
    found = places.find(places.keys)
    shards, rows = places.shards_of(found).tolist(), places.row[found].tolist()
    return dict(zip(places.keys.to_pylist(), zip(shards, rows, strict=True), strict=True))


def write_index(folder: Path, rows: list[tuple[str, int, str]]) -> None:
    """An index over (shard, row, bucket), sha256 counting up."""
    records = [
        {
            "key": f"k{number}",
            "sha256": f"{number:064x}",
            "shard": shard,
            "row": row,
            "bucket": bucket,
            "bucket_width": 48,
            "bucket_height": 32,
            "original_width": 480,
            "original_height": 320,
            "crop_left": 0,
            "crop_top": 0,
        }
        for number, (shard, row, bucket) in enumerate(rows)
    ]
    table = pa.Table.from_pylist(records, schema=LATENT_INDEX)
    write_table(table, folder / "index.parquet", LATENT_INDEX)


def test_a_key_changes_with_the_image_the_encoder_and_the_geometry() -> None:
    keys = {
        latent_key("a", "b", "c"),
        latent_key("x", "b", "c"),
        latent_key("a", "x", "c"),
        latent_key("a", "b", "x"),
        latent_key("ab", "", "c"),
    }
    assert len(keys) == 5
    assert latent_key("a", "b", "c") == latent_key("a", "b", "c")


def test_written_rows_are_known_by_their_keys(tmp_path: Path) -> None:
    store = LatentStore(tmp_path / "store")
    first = store.write_shard("48x32", keys_of(1, 2), latents_of(2))
    second = store.write_shard("32x48", keys_of(3), latents_of(1, 6, 4))
    assert known(store) == dict(
        zip(keys_of(1, 2, 3), [(first, 0), (first, 1), (second, 0)], strict=True)
    )
    assert first.startswith("48x32-")
    assert first.endswith(".safetensors")
    assert known(LatentStore(tmp_path / "store")) == known(store)


def test_equal_content_gives_an_equal_file_and_other_content_another_name(tmp_path: Path) -> None:
    one, two = LatentStore(tmp_path / "a"), LatentStore(tmp_path / "b")
    name = one.write_shard("48x32", keys_of(1, 2), latents_of(2))
    assert two.write_shard("48x32", keys_of(1, 2), latents_of(2)) == name
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert one.write_shard("48x32", keys_of(1, 2), latents_of(2, seed=1)) != name
    assert one.write_shard("48x32", keys_of(2, 1), latents_of(2)) != name
    assert one.write_shard("48x32", keys_of(1, 2), latents_of(2).half()) != name


@pytest.mark.parametrize("damage", ["truncate", "extend", "header", "empty", "text"])
def test_a_damaged_shard_is_ignored_with_a_note_and_written_again(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = LatentStore(tmp_path)
    good = store.write_shard("48x32", keys_of(1), latents_of(1))
    bad = store.write_shard("48x32", keys_of(2), latents_of(1, seed=1))
    data = (tmp_path / bad).read_bytes()
    broken = {
        "truncate": data[:-1],
        "extend": data + b"0",
        "header": data[:20] + b"\xff" + data[21:],
        "empty": b"",
        "text": b"<html>not a shard</html>",
    }
    (tmp_path / bad).write_bytes(broken[damage])
    assert known(store) == {keys_of(1)[0]: (good, 0)}
    assert f"ignoring damaged shard {bad}" in capsys.readouterr().out
    assert not is_intact(store.root / bad)
    assert store.write_shard("48x32", keys_of(2), latents_of(1, seed=1)) == bad
    assert (tmp_path / bad).read_bytes() == data


def test_a_flipped_bit_among_the_latents_is_found_by_checking_the_content(tmp_path: Path) -> None:
    store = LatentStore(tmp_path)
    name = store.write_shard("48x32", keys_of(1), latents_of(1))
    assert is_intact(store.root / name)
    data = bytearray((tmp_path / name).read_bytes())
    data[-3] ^= 1
    (tmp_path / name).write_bytes(data)
    assert not is_intact(store.root / name)
    assert not is_intact(store.root / "48x32-missing.safetensors")


def test_keys_that_do_not_match_and_other_dtypes_are_refused(tmp_path: Path) -> None:
    store = LatentStore(tmp_path)
    with pytest.raises(ValueError, match="1 keys for 2 latents"):
        store.write_shard("48x32", keys_of(1), latents_of(2))
    with pytest.raises(ValueError, match="0 keys for 0 latents"):
        store.write_shard("48x32", [], latents_of(0))
    with pytest.raises(ValueError, match="fp32 or fp16, not float64"):
        store.write_shard("48x32", keys_of(1), latents_of(1).double())
    assert known(store) == {}


_WRITE_FOREVER = """
import sys
from pathlib import Path
import torch
from nadir.data.latents.store import LatentStore
store, number = LatentStore(Path(sys.argv[1])), 0
while True:
    keys = [f"{number}-{row}" for row in range(64)]
    store.write_shard("512x512", keys, torch.full((64, 4, 64, 64), float(number)))
    number += 1
    print(number, flush=True)
"""


def test_a_writer_killed_in_the_act_leaves_only_whole_shards(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITE_FOREVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "1\n"
        time.sleep(0.05)
        os.kill(writer.pid, signal.SIGKILL)
    store = LatentStore(tmp_path)
    shards = {shard for shard, _ in known(store).values()}
    assert shards == {path.name for path in tmp_path.glob("*.safetensors")}
    assert shards
    assert all(is_intact(store.root / name) for name in shards)


def test_shards_are_linked_out_and_adopted_back_without_a_copy(tmp_path: Path) -> None:
    store = LatentStore(tmp_path / "store")
    name = store.write_shard("48x32", keys_of(1), latents_of(1))
    store.link_into(tmp_path / "out", [name, name])
    store.link_into(tmp_path / "out", [name])
    assert (tmp_path / "out" / name).samefile(tmp_path / "store" / name)
    other = LatentStore(tmp_path / "other")
    other.adopt(tmp_path / "out", pa.array(keys_of(2)))
    assert known(other) == {}
    other.adopt(tmp_path / "out", pa.array(keys_of(1)))
    other.adopt(tmp_path / "nowhere", pa.array(keys_of(1)))
    assert known(other) == known(store)


def test_rows_come_back_in_the_order_asked_for_across_shards(tmp_path: Path) -> None:
    store, latents = LatentStore(tmp_path), latents_of(6)
    first = store.write_shard("48x32", keys_of(0, 1, 2, 3), latents[:4])
    second = store.write_shard("48x32", keys_of(4, 5), latents[4:])
    places = [(first, row) for row in range(4)] + [(second, row) for row in range(2)]
    write_index(tmp_path, [(shard, row, "48x32") for shard, row in places])
    reader = LatentReader(tmp_path)
    assert len(reader) == len(reader.index) == 6
    for positions in ([5, 0, 3, 0], [2], np.array([1, 4])):
        torch.testing.assert_close(
            reader.rows(positions), latents[torch.as_tensor(positions)], rtol=0, atol=0
        )
    assert reader.rows([0]).dtype == torch.float32


def test_rows_keep_the_type_they_are_stored_in_and_a_mixed_batch_takes_the_wider(
    tmp_path: Path,
) -> None:
    store, latents = LatentStore(tmp_path), latents_of(3)
    half = store.write_shard("48x32", keys_of(0, 1), latents[:2].half())
    full = store.write_shard("48x32", keys_of(2), latents[2:])
    write_index(tmp_path, [(half, 0, "48x32"), (half, 1, "48x32"), (full, 0, "48x32")])
    reader, halves = LatentReader(tmp_path), latents[:2].half()
    torch.testing.assert_close(reader.rows([1, 0]), halves.flip(0), rtol=0, atol=0)
    mixed = torch.cat([halves.float(), latents[2:]])
    torch.testing.assert_close(reader.rows([0, 1, 2]), mixed, rtol=0, atol=0)


def test_a_batch_may_be_changed_without_touching_the_shard(tmp_path: Path) -> None:
    name = LatentStore(tmp_path).write_shard("48x32", keys_of(0), latents_of(1))
    write_index(tmp_path, [(name, 0, "48x32")])
    reader = LatentReader(tmp_path)
    reader.rows([0]).zero_()
    assert reader.rows([0]).abs().sum() > 0


def test_a_reader_travels_to_another_process_without_its_data(tmp_path: Path) -> None:
    latents = latents_of(100, 64, 64)
    name = LatentStore(tmp_path).write_shard("512x512", keys_of(*range(100)), latents)
    write_index(tmp_path, [(name, row, "512x512") for row in range(100)])
    reader = LatentReader(tmp_path)
    reader.rows([0])
    packed = pickle.dumps(reader)
    assert len(packed) < latents.numel() // 10
    torch.testing.assert_close(pickle.loads(packed).rows([7]), latents[7:8])


def test_rows_of_different_buckets_are_refused(tmp_path: Path) -> None:
    store = LatentStore(tmp_path)
    wide = store.write_shard("48x32", keys_of(0), latents_of(1))
    tall = store.write_shard("32x48", keys_of(1), latents_of(1, 6, 4))
    write_index(tmp_path, [(wide, 0, "48x32"), (tall, 0, "32x48")])
    with pytest.raises(ValueError, match="rows of one bucket are wanted"):
        LatentReader(tmp_path).rows([0, 1])


def test_a_missing_or_damaged_shard_is_reported_with_its_path(tmp_path: Path) -> None:
    name = LatentStore(tmp_path).write_shard("48x32", keys_of(0), latents_of(1))
    write_index(tmp_path, [(name, 0, "48x32"), ("48x32-gone.safetensors", 0, "48x32")])
    reader = LatentReader(tmp_path)
    with pytest.raises(NadirError, match=r"48x32-gone\.safetensors: the latent shard is missing"):
        reader.rows([1])
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-4])
    with pytest.raises(
        NadirError, match=r"missing or damaged .*\n  fix: `nadir latents verify`, then `nadir run`"
    ):
        reader.rows([0])


def test_a_folder_without_an_index_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NadirError, match=r"index\.parquet: the table is missing"):
        LatentReader(tmp_path)
