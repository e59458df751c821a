"""Tables that are cut, corrupt or blown up cost themselves only, and little memory."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.sources.datasets import examined, image, lines, parquet, reasons, write

from nadir.data.sources.containers.parquet_rows import parquet_rows
from nadir.data.sources.detect import open_source
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nadir.data.gate.verdicts import Screened
    from nadir.data.sources.interfaces import Listing

CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
IMAGES = pa.schema([("image", CELL), ("caption", pa.string())])


def run(folder: Path, root: Path, layout: str = "auto") -> tuple[Listing, Screened]:
    source = open_source(str(folder), layout)
    listing = source.list_images()
    return listing, examined(source, listing, root)


def paths(result: Screened) -> list[str]:
    return sorted(result.manifest.table().column("path").to_pylist())


def details(result: Screened) -> str:
    return "\n".join(result.quarantine.column("detail").to_pylist())


def shard(*numbers: int, group: int = 2) -> bytes:
    rows = [
        {"image": {"bytes": image(n), "path": None}, "caption": f"1girl, n{n}"} for n in numbers
    ]
    return parquet(rows, IMAGES, group=group)


POSTS = lines([{"file_name": "a.png", "tag_string_general": "1girl solo"}])
ROWS = lines([{"file_name": "a.png", "text": "1girl, solo"}])


@pytest.mark.parametrize(
    ("files", "reason", "says"),
    [
        ({"posts.jsonl": POSTS, "x.parquet": b"junk" * 9}, "bad_archive", "not a readable parquet"),
        ({"posts.jsonl": POSTS, "x.parquet": b""}, "bad_archive", "Parquet file size is 0 bytes"),
        ({"metadata.jsonl": ROWS, "sub/metadata.parquet": b""}, "bad_archive", "is 0 bytes"),
        ({"metadata.jsonl": ROWS, "sub/metadata.csv": b"name\n"}, "bad_metadata", "two columns"),
        ({"posts.jsonl": POSTS, "posts2.json": b'{"a": ['}, "bad_metadata", "it is not JSON"),
    ],
)
def test_a_table_that_cannot_be_read_costs_itself_while_others_can(
    tmp_path: Path, root: Path, files: dict[str, bytes], reason: str, says: str
) -> None:
    listing, result = run(write(tmp_path / "s", files | {"a.png": image(0)}), root)
    bad = list(files)[1]
    assert paths(result) == ["a.png"]
    assert reasons(result) == {bad: reason}
    assert says in details(result)
    assert listing.warnings[0].startswith(f"the rows of {bad} are left out: the metadata file can")
    assert "correct the file, or take it out of the source" in listing.warnings[0]


def test_of_two_shards_one_may_be_cut(tmp_path: Path, root: Path) -> None:
    files = {"a.parquet": shard(0, 3), "b.parquet": shard(6, 9)[:-300]}
    listing, result = run(write(tmp_path / "s", files), root)
    assert listing.format == "parquet"
    assert paths(result) == ["a.parquet::000001", "a.parquet::000002"]
    assert reasons(result) == {"b.parquet": "bad_archive"}
    assert len(listing.warnings) == 1


@pytest.mark.parametrize("words", [b"word\nhello\n", b"word,count\nhello,3\nhello\nworld,4\n"])
def test_stray_files_beside_posts_are_passed_over(tmp_path: Path, root: Path, words: bytes) -> None:
    files = {"posts.jsonl": POSTS, "words.csv": words, "a.png": image(0), "posts_n.json": b"7"}
    listing, result = run(write(tmp_path / "s", files), root)
    assert paths(result) == ["a.png"]
    assert reasons(result) == {}
    assert listing.warnings == ()


def test_posts_of_which_no_line_can_be_understood_are_told(tmp_path: Path, root: Path) -> None:
    files = {"posts.jsonl": POSTS, "posts2.jsonl": b"{oops\n", "a.png": image(0)}
    _, result = run(write(tmp_path / "s", files), root)
    assert reasons(result) == {"posts2.jsonl#000001": "bad_metadata"}


def test_a_table_without_permission_costs_itself_while_others_can(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nadir.data.sources.stores.local import LocalStore

    files = {"metadata.jsonl": ROWS, "b/metadata.jsonl": ROWS, "a.png": image(0)}
    folder, real = write(tmp_path / "s", files), LocalStore.open

    def refused(self: LocalStore, path: str, version: str | None = None) -> Any:
        if path.startswith("b/"):
            raise PermissionError(13, "Permission denied")
        return real(self, path, version)

    monkeypatch.setattr(LocalStore, "open", refused)
    listing, result = run(folder, root)
    assert reasons(result) == {"b/metadata.jsonl": "cannot_open"}
    assert listing.warnings[0].endswith("Permission denied; check the permissions of the file, "
                                        "and the disk")  # fmt: skip


def test_one_cell_that_is_not_utf8_costs_its_row(tmp_path: Path, root: Path) -> None:
    texts = pa.array([b"1girl", b"se\xf1ora", b"solo"])
    texts = pa.Array.from_buffers(pa.string(), 3, texts.buffers())
    table = pa.table({"file_name": ["a.png", "b.png", "c.png"], "text": texts})
    pq.write_table(table, tmp_path / "metadata.parquet")
    write(tmp_path, {"a.png": image(0), "c.png": image(3)})
    _, result = run(tmp_path, root)
    assert paths(result) == ["a.png", "c.png"]
    assert reasons(result) == {"metadata.parquet#000002": "bad_metadata"}
    assert details(result) == "the row holds text that is not UTF-8"


def test_columns_that_are_not_used_do_not_matter(tmp_path: Path, root: Path) -> None:
    far = pa.array([10**15], pa.int64())
    table = pa.table(
        {
            "file_name": ["a.png"],
            "created_at": far.cast(pa.timestamp("s")),
            "updated_at": pa.array([1], pa.timestamp("us", tz="Mars/Base")),
            "uploader": pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers()),
            "text": ["1girl, solo"],
        }
    )
    pq.write_table(table, tmp_path / "metadata.parquet")
    write(tmp_path, {"a.png": image(0)})
    assert paths(run(tmp_path, root)[1]) == ["a.png"]
    pq.write_table(
        pa.table({"file_name": ["a.png"], "text": ["x"], "id": far.cast(pa.timestamp("s"))}),
        tmp_path / "metadata.parquet",
    )
    _, result = run(tmp_path, root)
    assert reasons(result)["metadata.parquet#000001"] == "bad_metadata"
    assert "the row holds a value that cannot be read" in details(result)


def spoil(data: bytes, group: int, column: str) -> bytes:
    """The same file with nonsense in the pages of a column of one row group."""
    meta = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(group)
    leaves = [meta.column(i) for i in range(meta.num_columns)]
    leaf = next(leaf for leaf in leaves if leaf.path_in_schema == column)
    start = leaf.dictionary_page_offset or leaf.data_page_offset
    spoilt, end = bytearray(data), start + leaf.total_compressed_size
    spoilt[start + 40 : end] = b"\xff" * (end - start - 40)
    return bytes(spoilt)


def test_a_corrupt_row_group_costs_its_own_rows(tmp_path: Path, root: Path) -> None:
    folder = write(tmp_path / "s", {"x.parquet": spoil(shard(0, 3, 6, 9, 1), 1, "caption")})
    _, result = run(folder, root)
    assert paths(result) == ["x.parquet::000001", "x.parquet::000002", "x.parquet::000005"]
    assert reasons(result) == {"x.parquet#000003": "bad_metadata"}
    assert details(result).startswith("rows 3 to 4 cannot be read: ")
    assert "None" not in details(result)


def test_a_corrupt_page_of_images_has_the_right_reason(tmp_path: Path, root: Path) -> None:
    """That no image is missing is in the footer, so the pages are read by `validate` only."""
    rows = [{"image": image(n), "caption": "1girl, solo"} for n in (0, 3, 6)]
    schema = pa.schema([("image", pa.binary()), ("caption", pa.string())])
    data = spoil(parquet(rows, schema, group=2), 0, "image")
    _, result = run(write(tmp_path / "s", {"x.parquet": data}), root)
    assert paths(result) == ["x.parquet::000003"]
    assert reasons(result) == dict.fromkeys(
        ["x.parquet::000001", "x.parquet::000002"], "bad_archive"
    )
    assert "the table: " in details(result)
    assert "None" not in details(result)
    fix = result.quarantine.column("fix").to_pylist()[0]
    assert fix.startswith("copy the archive or the table again")


def test_a_footer_that_claims_more_rows_than_there_are_bytes_is_not_believed(
    tmp_path: Path,
) -> None:
    table = pa.table({"image": pa.array([None] * 1_000_000, pa.binary())})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(NadirError, match=r"its footer claims 1,000,000 rows in [\d,]+ bytes"):
        open_source(str(tmp_path), "parquet").list_images()


def write_bomb_of_images(folder: Path) -> None:
    pq.write_table(pa.table({"image": [bytes(400 << 20)]}), folder / "x.parquet", **ZSTD)


def write_bomb_of_text(folder: Path) -> None:
    table = pa.table({"file_name": ["a.png"], "text": ["x" * (300 << 20)]})
    pq.write_table(table, folder / "metadata.parquet", **ZSTD)


def write_repetitions(folder: Path) -> None:
    texts = pa.DictionaryArray.from_arrays([0] * 800, ["x" * (1 << 20)])
    table = pa.table({"file_name": [f"{n}.png" for n in range(800)], "text": texts})
    pq.write_table(table, folder / "metadata.parquet", store_schema=False, **ZSTD)


def write_lines_of_objects(folder: Path) -> None:
    line = b'{"file_name": "a.png", "tags": [' + b",".join([b"{}"] * 349_000) + b"]}\n"
    (folder / "metadata.jsonl").write_bytes(line * 40)


def write_long_lines(folder: Path) -> None:
    line = b'{"file_name": "a.png", "text": "' + b"x" * 1_000_000 + b'"}\n'
    (folder / "metadata.jsonl").write_bytes(line * 250)


ZSTD: dict[str, Any] = {"compression": "zstd"}
LOOK = """
import sys
from nadir.data.inspection.inspection import Limits, inspect_file
from nadir.data.sources.containers.parquet_rows import parquet_rows
from nadir.data.sources.detect import open_source
source = open_source(sys.argv[1], "auto")
limits = Limits(1_000_000, 1 << 28, (0, 0, 0))
for row in source.list_images().table.to_pylist():
    if not row["problem"]:
        inspect_file(source, row["path"], row["size"], row["version"], limits=limits)
with open("/proc/self/status") as file:
    print(file.read().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")
@pytest.mark.parametrize(
    "make",
    [
        write_bomb_of_images,
        write_bomb_of_text,
        write_repetitions,
        write_lines_of_objects,
        write_long_lines,
    ],
)
def test_bombs_in_tables_cost_no_gigabytes(tmp_path: Path, make: Callable[[Path], None]) -> None:
    write(tmp_path, {"a.png": image(0)})
    make(tmp_path)
    command = [sys.executable, "-c", LOOK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 500_000  # kB


def test_a_bomb_is_told_with_its_fix(tmp_path: Path, root: Path) -> None:
    table = pa.table({"file_name": ["a.png"], "text": ["x" * (65 << 20)]})
    pq.write_table(table, tmp_path / "metadata.parquet", **ZSTD)
    _, result = run(write(tmp_path, {"a.png": image(0)}), root)
    assert reasons(result) == {"a.png": "no_tags", "metadata.parquet#000001": "bad_metadata"}
    assert "of its column text unpack to 68,157," in details(result)
    assert "write the table anew with smaller row groups" in details(result)


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ('0.png,"1girl, solo\n1.png,"1girl, smile"\n3.png,1girl\n', {1}),
        ('0.png,1girl\n1.png,"1girl, smile\n3.png,1girl\n', {2}),
    ],
)
def test_a_quote_that_is_not_closed_gives_no_image_the_text_behind_it(
    tmp_path: Path, root: Path, text: str, bad: set[int]
) -> None:
    files = {f"{n}.png": image(n) for n in (0, 1, 3)}
    files["metadata.csv"] = f"file_name,text\n{text}".encode()
    _, result = run(write(tmp_path / "s", files), root)
    found = {path: why for path, why in reasons(result).items() if why == "bad_metadata"}
    assert set(found) == {f"metadata.csv#{n:06d}" for n in bad}
    assert "is a quote not closed?" in details(result)
    names = {
        tag["name"] for tags in result.manifest.table().column("tags").to_pylist() for tag in tags
    }
    assert names <= {"1girl", "smile"}


def test_csv_lines_may_have_a_megabyte_and_no_more(tmp_path: Path, root: Path) -> None:
    sink = io.StringIO()
    # Words of one line: tags in such numbers are refused later.
    long, longer = "a" * 900_000, "a,\n" * 400_000
    csv.writer(sink).writerows(
        [["file_name", "text"], ["0.png", long], ["1.png", longer], ["3.png", "1girl"]]
    )
    files = {f"{n}.png": image(n) for n in (0, 1, 3)}
    folder = write(tmp_path / "s", files | {"metadata.csv": sink.getvalue().encode()})
    source = open_source(str(folder), "auto")
    rows = {row["path"]: row for row in source.list_images().table.to_pylist()}
    row = source.read(rows["0.png"]["tags_path"], 1 << 20)
    assert json.loads(row.data) == {"text": long}
    assert "it has more than 1,048,576 bytes" in rows["metadata.csv#000002"]["detail"]


@pytest.mark.parametrize("value", [1, 3, 0x7F, 0xFF])
def test_any_one_byte_of_its_pages_may_be_wrong(value: int) -> None:
    """Each position of a repeated text is one byte: a wrong one points outside of the texts."""
    rows = [{"file_name": f"{n}.png", "text": "1girl", "id": n} for n in range(8)]
    sound = parquet(rows, pa.schema([("file_name", pa.string()), ("text", pa.string()),
                                     ("id", pa.int64())]), group=4)  # fmt: skip
    pages = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
    outside = 0
    for at in range(4, pages):
        damaged = bytearray(sound)
        damaged[at] = value
        found = list(parquet_rows(io.BytesIO(bytes(damaged))))
        assert len(found) == len(rows)
        outside += any("out-of-bounds" in (fault or "") for _, fault in found)
    assert outside
