"""`validate` as a stage where every image is known already, and a listing that does not fit a part.

The stage itself, `python -m nadir.stages.validate`, in a project with a listing of synthetic posts
(35 tags each, a fifth of the images within two bits of an earlier one, one in fifty unusable) and
what earlier runs remember of them, so that no image is opened: reading what is remembered,
verdicts, look-alikes, hold-out, manifest, gate and page. Private: the most memory of its own at a
time; resident: with the pages of files that it has mapped, which the system takes back where it
wants room. With `--beside FOLDER`, the checkout of another build, each is made in turn with that
build's; all outputs are equal byte by byte, or nothing is written. With `--limit_gb`, only this
build, held to so much memory by a cgroup, its file cache included.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from bench.booru import TagModel
from bench.memory_limit import Group
from bench.performance import PAGE, write
from bench.results import ROOT, table
from bench.screening import POSTS_AT_ONCE, look_alikes, posts_looked_at

from nadir.config.reader import read_section
from nadir.config.validate import ValidateParams
from nadir.data.inspection.inspection import Limits
from nadir.data.inspection.listing import FACTS, Inspector
from nadir.data.row_groups import ROWS_PER_GROUP, regrouped
from nadir.data.sources.detect import open_source
from nadir.data.tables import (
    LISTING,
    TAG_CLASSES,
    write_groups,
    write_table,
)
from nadir.ground import artifacts
from nadir.ground.files import write_json

OUTPUTS = (artifacts.MANIFEST, artifacts.QUARANTINE, artifacts.PROFILE, artifacts.VALIDATION)
_POLL_S = 0.02


def prepare(project: Path, posts: int) -> None:
    """A project whose listing names images that exist in what is remembered alone."""
    (project / "images").mkdir(parents=True)
    shutil.copy(ROOT / "dvc.yaml", project)
    text = (PAGE.parents[1] / "params.yaml").read_text(encoding="utf-8")
    changed = text.replace("source: data/sample", "source: images")
    (project / "params.yaml").write_text(changed, encoding="utf-8")
    os.chdir(project)
    params = read_section("validate", ValidateParams)
    limits = Limits(
        params.max_pixels, params.max_file_bytes, params.alpha_background, params.max_seconds
    )
    source = open_source(str(project / "images"), "folder")
    inspector = Inspector(source, limits, project / "work/inspection", 1)
    posts_listed = regrouped(_remember(inspector, posts), ROWS_PER_GROUP)
    write_groups(posts_listed, artifacts.LISTING, LISTING)
    inspector.remember()
    write_json(artifacts.SOURCE_FORMAT, {"format": "folder"})
    write_table(TAG_CLASSES.empty_table(), artifacts.TAG_CLASSES, TAG_CLASSES)


def _remember(inspector: Inspector, posts: int) -> Any:
    rng, model = np.random.default_rng(0), TagModel.load()
    hashes = look_alikes(posts, np.random.default_rng(1))
    for start in range(0, posts, POSTS_AT_ONCE):
        count = min(POSTS_AT_ONCE, posts - start)
        listing, facts, tags = posts_looked_at(start, count, model, rng, None)
        place = facts.column_names.index("perceptual_hash")
        own = hashes.slice(start, count)
        facts = facts.set_column(place, FACTS.field(place), own)
        texts = pa.compute.replace_substring(listing.column("path"), ".jpg", ".txt")
        once = pa.array(["1"] * count)
        keys = {"path": listing.column("path"), "size": listing.column("size"), "version": once}
        beside = {"path": texts, "size": listing.column("size"), "version": once}
        known = ((inspector.known_images, keys, facts), (inspector.known_tags, beside, tags))
        for cache, names, found in known:
            columns = names | dict(zip(found.column_names, found.columns, strict=True))
            cache.add(pa.table(columns).select(cache.schema.names).cast(cache.schema))
        named = {"tags_path": texts, "tags_size": listing.column("size"), "tags_version": once}
        for name, column in ({"version": once} | named).items():
            listing = listing.set_column(listing.column_names.index(name), name, column)
        yield listing.cast(LISTING)


def stage(project: Path, build: Path, limit_gb: float | None = None) -> dict[str, float]:
    """Run the stage by a build's code; GB and seconds."""
    for name in OUTPUTS:
        (project / name).unlink(missing_ok=True)
    environment = os.environ | {"PYTHONPATH": str(build / "src")}
    group = Group(int(limit_gb * 1e9)) if limit_gb else None
    start, peaks = time.perf_counter(), {"RssAnon": 0, "VmRSS": 0}
    command = [sys.executable, "-m", "nadir.stages.validate"]
    with subprocess.Popen(command, env=environment, cwd=project) as process:
        if group:
            group.add(psutil.Process(process.pid))
        while not _ended(process):
            _note(Path(f"/proc/{process.pid}/status"), peaks)
            time.sleep(_POLL_S)
        usage = os.wait4(process.pid, 0)[2]
        process.returncode = 0
    return {
        "wall_s": time.perf_counter() - start,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "private_gb": peaks["RssAnon"] * 1024 / 1e9,
        "resident_gb": peaks["VmRSS"] * 1024 / 1e9,
    }


def _ended(process: subprocess.Popen[bytes]) -> bool:
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found and found.si_status:
        raise RuntimeError(f"the stage ended with {found.si_status}")
    return found is not None


def _note(status: Path, peaks: dict[str, int]) -> None:
    for line in status.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name in peaks:
            peaks[name] = max(peaks[name], int(value.split()[0]))


def digests(project: Path) -> list[str]:
    """Of the outputs."""
    found = []
    for name in OUTPUTS:
        with (project / name).open("rb") as file:
            found.append(hashlib.file_digest(file, "sha256").hexdigest())
    return found


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, nargs="+", default=[600_000, 6_000_000])
    parser.add_argument("--beside", type=Path, help="checkout of another build")
    parser.add_argument("--limit_gb", type=float, nargs="*", default=[])
    options = parser.parse_args()
    runs: list[tuple[str, Path, float | None]] = [("this build", ROOT, None)]
    if options.beside:
        runs.append(("the build before", options.beside.resolve(), None))
    runs += [(f"this build in {limit:g} GB", ROOT, limit) for limit in options.limit_gb]
    rows = []
    for posts in options.posts:
        with tempfile.TemporaryDirectory(dir=ROOT / "work") as folder:
            project = Path(folder) / "project"
            prepare(project, posts)
            said = []
            for name, build, limit in runs:
                found = stage(project, build, limit)
                said.append(digests(project))
                rows.append([f"{posts:,}, {name}", *(f"{value:.2f}" for value in found.values())])
                print(rows[-1], flush=True)
            os.chdir(ROOT)
        if any(each != said[0] for each in said):
            raise RuntimeError("the outputs differ")
    header = ["images", "s", "CPU, s", "private, GB", "resident, GB"]
    about = (__doc__ or "").split("\n\n", 1)[1]
    write("Validation of a large listing", about + "\n" + table(header, rows))


if __name__ == "__main__":
    main()
