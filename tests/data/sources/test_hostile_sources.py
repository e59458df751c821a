"""Names that lead elsewhere, rows without images, broken lines and archives: a reason for each."""

from __future__ import annotations

import io
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from tests.data.sources.datasets import examined, image, lines, parquet, reasons, tar, write

from nadir.data.sources.detect import open_source
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.gate.verdicts import Screened
    from nadir.data.sources.interfaces import Source

LEADS_OUT = ("../secret.png", "/etc/passwd", "a/../../secret.png", "C:\\secret.png", "http://x/y")


@pytest.fixture(autouse=True)
def secret(tmp_path: Path) -> Path:
    """A good image right beside the source: whoever leaves the source would find it."""
    path = tmp_path / "secret.png"
    path.write_bytes(image(11))
    return path


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every file that is opened below tmp_path from now on, resolved."""
    import pathlib

    seen: list[str] = []
    real = pathlib.Path.open

    def spy(self: pathlib.Path, *args: Any, **more: Any) -> Any:
        seen.append(os.path.realpath(self))
        return real(self, *args, **more)

    monkeypatch.setattr(pathlib.Path, "open", spy)
    return seen


def run(folder: Path, root: Path, layout: str = "auto") -> tuple[Source, Screened]:
    source = open_source(str(folder), layout)
    return source, examined(source, source.list_images(), root)


def paths(result: Screened) -> set[str]:
    return set(result.manifest.table().column("path").to_pylist())


@pytest.mark.parametrize("layout", ["jsonl", "csv", "parquet", "kohya", "booru"])
def test_a_row_that_leads_out_of_the_source_is_quarantined_and_opens_nothing(
    tmp_path: Path, root: Path, opened: list[str], layout: str
) -> None:
    names = ["ok.png", *LEADS_OUT]
    rows = [{"file_name": name, "tags": "1girl, solo"} for name in names]
    files = {
        "jsonl": ("metadata.jsonl", lines(rows)),
        "csv": (
            "metadata.csv",
            ("file_name,tags\n" + "".join(f'{n},"1girl"\n' for n in names)).encode(),
        ),
        "parquet": ("metadata.parquet", parquet(rows)),
        "kohya": (
            "meta_cap.json",
            json.dumps({n: {"caption": "1girl, solo"} for n in names}).encode(),
        ),
        "booru": ("posts.jsonl", lines(rows)),
    }
    name, data = files[layout]
    folder = write(tmp_path / "source", {"ok.png": image(0), name: data})
    _, result = run(folder, root)
    assert paths(result) == {"ok.png"}
    assert reasons(result) == {f"{name}#{row:06d}": "unsafe_path" for row in range(2, 7)}
    assert [path for path in opened if not path.startswith((str(folder), str(root)))] == []
    details = result.quarantine.column("detail").to_pylist()
    assert "'../secret.png': it leads out of the source" in details


def test_a_tars_members_with_such_names_are_quarantined(
    tmp_path: Path, root: Path, opened: list[str]
) -> None:
    names = ["../secret.png", "/etc/secret.png", "a/../../secret.png", "./fine/./b.png"]
    data = tar({name: image(i) for i, name in enumerate(names)} | {"fine/b.txt": b"1girl"})
    folder = write(tmp_path / "source", {"x.tar": data})
    _, result = run(folder, root)
    assert paths(result) == {"x.tar::fine/b.png"}
    assert reasons(result) == {f"x.tar::{name}": "unsafe_path" for name in names[:3]}
    assert [path for path in opened if not path.startswith((str(folder), str(root)))] == []


def test_links_in_tars_are_not_followed(tmp_path: Path, root: Path, secret: Path) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, kind, target in (
            ("soft.png", tarfile.SYMTYPE, str(secret)),
            ("hard.png", tarfile.LNKTYPE, "a.png"),
            ("pipe.png", tarfile.FIFOTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    whole = tar({"a.png": image(0), "a.txt": b"1girl"})
    folder = write(tmp_path / "source", {"x.tar": whole, "y.tar": sink.getvalue()})
    _, result = run(folder, root)
    assert paths(result) == {"x.tar::a.png"}
    assert set(reasons(result).values()) == {"unsafe_path"}
    assert len(reasons(result)) == 3


def test_paths_made_up_by_someone_open_nothing_outside(tmp_path: Path) -> None:
    folder = write(tmp_path / "source", {"a.png": image(0), "x.tar": tar({"b.png": image(1)})})
    source = open_source(str(folder), "folder")
    for path in ("../secret.png", str(tmp_path / "secret.png"), "a/../../secret.png"):
        with pytest.raises(OSError, match="leads out of the source"):
            source.read(path, 100)
    for path in ("x.tar::../secret.png", "../x.tar::a", "x.tar::missing", "a.parquet::000001"):
        with pytest.raises(OSError, match=r"leads out|no such member|No such file"):
            source.read(path, 100)


def test_rows_without_images_and_images_without_rows_have_a_reason(
    tmp_path: Path, root: Path
) -> None:
    rows = [
        {"file_name": "a.png", "text": "1girl, solo"},
        {"file_name": "gone.png", "text": "1girl"},
        {"text": "names nothing"},
        {"file_name": "a.png", "text": "said twice"},
        {"file_name": "empty.png"},
        {"file_name": "notes.md", "text": "no image, but named as one"},
    ]
    files = {f"{name}.png": image(i) for i, name in enumerate(("a", "empty", "rowless", "beside"))}
    extra = {"metadata.jsonl": lines(rows), "beside.txt": b"from beside", "notes.md": b"x" * 9}
    _, result = run(write(tmp_path / "source", files | extra), root)
    assert paths(result) == {"a.png", "beside.png"}
    assert reasons(result) == {
        "metadata.jsonl#000002": "missing_image",
        "metadata.jsonl#000003": "bad_metadata",
        "metadata.jsonl#000004": "bad_metadata",
        "empty.png": "no_tags",
        "rowless.png": "no_tags",
        "notes.md": "unreadable",
    }


def test_a_booru_row_says_by_what_its_image_was_looked_for(tmp_path: Path, root: Path) -> None:
    rows = [{"id": 7, "md5": "ab" * 16, "tag_string": "1girl"}, {"id": 8, "tag_string": "1girl"}]
    folder = write(tmp_path / "source", {"posts.jsonl": lines(rows), "8.png": image(0)})
    _, result = run(folder, root)
    assert paths(result) == {"8.png"}
    row = result.quarantine.to_pylist()[0]
    assert row["reason"] == "missing_image"
    assert row["detail"] == f"the source holds no image named like md5 '{'ab' * 16}' or id '7'"
    assert row["fix"] == "add the image, or delete the row of the metadata file or the link"


def test_broken_lines_cost_themselves_only(tmp_path: Path, root: Path) -> None:
    good = [json.dumps({"file_name": f"{i}.png", "text": "1girl, solo"}).encode() for i in range(3)]
    broken = [
        b"{oops",
        b"[1, 2]",
        b'{"file_name": "se\xf1ora.png"}',
        b"",
        b"[" * 200_000,
        b'{"file_name": "x.png", "text": "' + b"a" * 1_100_000 + b'"}',
        b'{"id": ' + b"9" * 5000 + b"}",
        b'{"file_name": "\\u0000"}',
        b'{"file_name": "\\ud800.png"}',
    ]
    data = b"\xef\xbb\xbf" + b"\n".join([good[0], *broken, good[1], good[2]])
    files = {f"{i}.png": image(i) for i in range(3)}
    _, result = run(write(tmp_path / "source", files | {"metadata.jsonl": data}), root)
    assert paths(result) == {"0.png", "1.png", "2.png"}
    expected = {2: "bad_metadata", 3: "bad_metadata", 4: "bad_metadata", 6: "bad_metadata"}
    expected |= {7: "bad_metadata", 8: "bad_metadata", 9: "unsafe_path", 10: "missing_image"}
    assert reasons(result) == {f"metadata.jsonl#{n:06d}": why for n, why in expected.items()}
    details = dict(
        zip(*(result.quarantine.column(c).to_pylist() for c in ("path", "detail")), strict=True)
    )
    assert details["metadata.jsonl#000004"] == "byte 17 of the line is not UTF-8"
    assert "not JSON" in details["metadata.jsonl#000002"]


def test_broken_csv_records_cost_themselves_only(tmp_path: Path, root: Path) -> None:
    data = (
        b'file_name,text\n0.png,"1girl, solo"\n1.png,a,b,c\nse\xf1ora.png,x\n\n2.png,"two\nlines"\n'
    )
    files = {f"{i}.png": image(i) for i in (0, 2)}
    _, result = run(write(tmp_path / "source", files | {"metadata.csv": data}), root)
    assert paths(result) == {"0.png", "2.png"}
    assert reasons(result) == {
        "metadata.csv#000002": "bad_metadata",
        "metadata.csv#000003": "bad_metadata",
    }


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("metadata.parquet", b"PAR1 nonsense", r"metadata\.parquet: .*not a readable parquet file"),
        ("metadata.csv", b"file_name\n", "does not name at least two columns"),
        ("meta_cap.json", b'{"a": {"caption": "x"', r"meta_cap\.json: .*it is not JSON: .*line 1"),
        ("meta_cap.json", b"7", "neither a list nor an object"),
        ("meta_cap.json", b"[" * 100_000, "it is not JSON"),
        ("meta_cap.json", b"\xff\xfe\xfa", "it is not JSON"),
    ],
)
def test_a_metadata_file_without_sense_is_one_clear_error(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    folder = write(tmp_path / "source", {"a.png": image(0), name: data})
    with pytest.raises(NadirError, match=message) as stop:
        open_source(str(folder), "auto").list_images()
    assert "fix: correct the file, or take it out of the source" in str(stop.value)


def test_broken_tars_keep_what_can_be_read(tmp_path: Path, root: Path) -> None:
    files = {
        f"{i}.{kind}": d for i in range(4) for kind, d in (("png", image(3 * i)), ("txt", b"1girl"))
    }
    whole = tar(files)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        member = archive.getmembers()[4]
    broken = bytearray(whole)
    broken[member.offset : member.offset + 512] = b"x" * 512
    cut = whole[: member.offset_data + member.size // 2]
    folder = write(
        tmp_path / "source",
        {
            "broken.tar": bytes(broken),
            "cut.tar": cut,
            "empty.tar": b"",
            "nonsense.tar": b"hello " * 500,
            "packed.tar": b"\x1f\x8b\x08" + bytes(600),
            "packed.tar.gz": b"\x1f\x8b\x08" + bytes(600),
            "sound.tar": tar({"z.png": image(9), "z.txt": b"1girl"}),
        },
    )
    source, result = run(folder, root)
    assert source.format == "auto"
    assert paths(result) == {"broken.tar::0.png", "broken.tar::1.png", "sound.tar::z.png"}
    found = reasons(result)
    archives = ["broken.tar", "cut.tar", "empty.tar", "nonsense.tar", "packed.tar", "packed.tar.gz"]
    assert [found.pop(name) for name in archives] == ["bad_archive"] * 6
    # Of the same images in the other tar one is a copy, as ever, and one was cut.
    assert found == {
        "cut.tar::0.png": "duplicate",
        "cut.tar::1.png": "duplicate",
        "cut.tar::2.png": "truncated",
    }


def test_headers_that_lie_about_lengths_neither_loop_nor_fill_the_memory(
    tmp_path: Path, root: Path
) -> None:
    def header(size_field: bytes, kind: bytes) -> bytes:
        info = tarfile.TarInfo("a.png")
        info.type = kind
        block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        block[124:136] = size_field
        block[148:156] = b" " * 8
        block[148:156] = f"{sum(block[:512]):06o}\0 ".encode()
        return bytes(block[:512])

    negative = b"\xff" * 10 + b"\xfc\x00"
    vast = b"\x80" + (1 << 60).to_bytes(11, "big")
    tars = {
        f"{i}.tar": header(size, kind) + bytes(2048)
        for i, (size, kind) in enumerate(
            [(negative, b"0"), (vast, b"0"), (vast, b"x"), (negative, b"x"), (vast, b"L")]
        )
    }
    good = {"sound.tar": tar({"z.png": image(9), "z.txt": b"1girl"})}
    _, result = run(write(tmp_path / "source", tars | good), root)
    assert paths(result) == {"sound.tar::z.png"}
    assert reasons(result) == dict.fromkeys(tars, "bad_archive") | {"1.tar::a.png": "truncated"}


def test_a_later_member_of_the_same_name_replaces_the_earlier(tmp_path: Path, root: Path) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for data in (b"old", image(1)):
            info = tarfile.TarInfo("a.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        info = tarfile.TarInfo("._a.png")
        archive.addfile(info, io.BytesIO())
    folder = write(tmp_path / "source", {"x.tar": sink.getvalue()})
    source = open_source(str(folder), "auto")
    listing = source.list_images()
    assert source.read("x.tar::a.png", 1 << 20).data == image(1)
    assert listing.table.num_rows == 1
    assert "1 members: replaced by a later member of the same name" in listing.notes[0]
    assert "1 members: hidden" in listing.notes[0]


def test_a_table_of_images_may_have_holes_and_vast_row_groups(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nadir.data.sources.containers import cells

    cell = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", cell), ("caption", pa.string())])
    values = [
        {"bytes": image(0), "path": "0.png"},
        {"bytes": None, "path": "../secret.png"},
        None,
        {"bytes": b"", "path": None},
        {"bytes": image(3), "path": None},
        {"bytes": None, "path": "beside.png"},
    ]
    rows = [{"image": value, "caption": "1girl, solo"} for value in values]
    files = {"all.parquet": parquet(rows, schema, group=4), "beside.png": image(6)}
    folder = write(tmp_path / "source", files)
    for limit in (cells._KEPT_BYTES, 0):
        monkeypatch.setattr(cells, "_KEPT_BYTES", limit)
        _, result = run(folder, root, "parquet")
        assert paths(result) == {"all.parquet::000001", "all.parquet::000005", "beside.png"}
        assert reasons(result) == {
            "all.parquet#000002": "unsafe_path",
            "all.parquet#000003": "bad_metadata",
            "all.parquet::000004": "empty_file",
        }


def test_images_named_like_what_lies_in_a_tar_are_quarantined(tmp_path: Path, root: Path) -> None:
    odd = {"a.tar::b.png": image(0), "a.tar::b.txt": b"x", "a.tar::b.json": b"{}"}
    folder = write(tmp_path / "source", odd | {"c.png": image(1), "c.txt": b"x"})
    source, result = run(folder, root, "folder")
    assert reasons(result) == {"a.tar::b.png": "bad_name"}
    notes = source.list_images().notes
    assert notes == ("not listed: 2 named like what lies in a tar or table",)


def test_a_layout_that_is_not_there_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "source", {"a.png": image(0)})
    with pytest.raises(NadirError, match=r"no metadata file of the layout kohya .*meta_") as stop:
        open_source(str(folder), "kohya").list_images()
    assert "fix: set ingest.format to auto" in str(stop.value)
    known = r"unknown layout .zip.\n  fix: use auto or one of imagefolder"
    with pytest.raises(NadirError, match=known):
        open_source(str(folder), "zip")


def test_other_layouts_that_would_fit_are_named(tmp_path: Path) -> None:
    files = {"a.png": image(0), "metadata.jsonl": lines([{"file_name": "a.png", "text": "x"}])}
    files |= {"posts.jsonl": lines([{"id": 1, "tag_string": "y"}]), "backup.tar": tar({})}
    listing = open_source(str(write(tmp_path / "source", files)), "auto").list_images()
    assert listing.format == "imagefolder"
    assert listing.notes[-1] == (
        "read as imagefolder; it could be booru, webdataset, too: ingest.format chooses"
    )
