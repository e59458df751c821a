"""What each process of a training does before its first step: tags, weights, places, the plan.

One process, then eight at once that all stay: processor and wall time from the imports to the first
twenty batches (their rows, weights and tags; no latent is read), and memory at their end. Private
is what a process has for itself (`Private_*` of /proc/self/smaps_rollup), Python and its libraries
included, which alone take what the first line says; together is the sum of `Pss`, in which a page
that several map counts once. `made` is the first process after the data have changed, and the one
that it starts, which joins tags and latents for all that follow. With `--beside FOLDER`, the
checkout of another build, all is done by that build too. Eight processes are left out where they
would not fit into memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.booru import write_manifest
from bench.performance import POSTS, alone, write
from bench.results import ROOT, table
from bench.training_samples import prepare

# Of either build. What is measured stays in memory until the other end says so.
_RANK = """
import os, sys, time, json, resource
from pathlib import Path
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.data.latents.store import LatentReader
from nadir.training.loader import batch_plan
from nadir.training.samples import load_samples
try:
    from nadir.training.start.making import Sources
    from nadir.training.start.opening import open_data
except ImportError:
    open_data = None
def cpu():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
def memory():
    lines = open("/proc/self/smaps_rollup").read().splitlines()[1:]
    kb = {name: int(text.split()[0]) for name, _, text in (line.partition(":") for line in lines)}
    return {"private": (kb["Private_Clean"] + kb["Private_Dirty"]) / 1e6, "pss": kb["Pss"] / 1e6}
def start(data):
    train = read_section("train", TrainParams).model_copy(update={"batch_size": 64})
    files = [data / name for name in ("manifest.parquet", "t.parquet", "rules.parquet")]
    if open_data:
        opened = open_data(Sources(*files, data), train)
        samples, reader = opened.samples, LatentReader(data, opened.latents)
    else:
        reader = LatentReader(data)
        samples = load_samples(reader.index, manifest=files[0], tags=files[1], rules=files[2],
            tag_weighting=train.tag_weighting, repeats=train.repeats,
            regularisation=train.regularisation, captions=train.caption)
    plan = batch_plan(samples, train)
    said = [len(samples)]
    for step in range(20):
        bucket, within = plan.batch(step)
        rows = samples.buckets[bucket][within]
        said.append([samples.positions_N[rows].tolist(), samples.weights_N[rows].tolist(),
            [(samples.hashes[row], samples.prompt_tags(row)) for row in rows.tolist()]])
    return samples, reader, plan, said
before = memory()
wall, used = time.perf_counter(), cpu()
kept = start(Path(sys.argv[1]))
found = {"wall": time.perf_counter() - wall, "cpu": cpu() - used, "bare": before["private"]}
import hashlib
found["digest"] = hashlib.sha256(json.dumps(kept[3]).encode()).hexdigest()
kept = kept[:3]
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps(found | memory()), flush=True)
sys.stdin.readline()
"""


def ranks(build: Path, data: Path, count: int) -> list[dict[str, Any]]:
    """What each of `count` processes found that started at once and were there together."""
    environment = {**os.environ, "PYTHONPATH": str(build / "src"), "OMP_NUM_THREADS": "1"}
    python = build / ".venv" / "bin" / "python"
    line = [str(python if python.is_file() else sys.executable), "-c", _RANK, str(data)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(line, env=environment, cwd=data, **pipes) for _ in range(count)]
    try:
        for each in started:
            # Before it stand lines that the program says to its user.
            while each.stdout.readline().strip() != "ready":
                if each.poll() is not None:
                    msg = "a process has ended; see what it printed"
                    raise RuntimeError(msg)
        found = [_asked(each) for each in started]
    finally:
        for each in started:
            each.kill()
            each.wait()
    return found


def _asked(process: Any) -> dict[str, Any]:
    process.stdin.write("\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def project(folder: Path, posts: int) -> Path:
    """A folder with all that a start reads, made once."""
    place = folder / f"start_{posts}"
    if not (place / "rules.parquet").is_file():
        place.mkdir(parents=True, exist_ok=True)
        manifest = place / "manifest.parquet"
        write_manifest(manifest, posts)
        alone(prepare, place, manifest)
        (place / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
        shutil.copy(ROOT / "presets" / "sdxl.yaml", place / "params.yaml")
        alone(_write_rules, place / "rules.parquet")
    shutil.rmtree(place / "work", ignore_errors=True)
    return place


def _write_rules(_: Path, path: Path) -> dict[str, Any]:
    from nadir.data.tables import TAG_RULES, write_table

    write_table(TAG_RULES.empty_table(), path, TAG_RULES)
    return {}


def measure(name: str, build: Path, data: Path, posts: int) -> tuple[list[list[str]], str]:
    """Lines of the table, and a hash of what the first batches hold."""
    rows, label = [], f"{posts:,}, {name}"
    if (build / "src/nadir/training/start").is_dir():
        rows.append([f"{label}: made", *_cells(ranks(build, data, 1)), ""])
    one = ranks(build, data, 1)
    rows.append([label, *_cells(one), ""])
    if one[0]["private"] * 8 < _memory_gb() * 0.8:
        eight = ranks(build, data, 8)
        digests = {each["digest"] for each in (*one, *eight)}
        if len(digests) != 1:
            raise RuntimeError("processes have other batches than each other")
        rows.append([f"{label}: each of 8", *_cells(eight), f"{_sum(eight, 'pss'):.1f}"])
    return rows, one[0]["digest"]


def _cells(found: list[dict[str, Any]]) -> list[str]:
    mean = {key: _sum(found, key) / len(found) for key in ("cpu", "wall", "private")}
    return [f"{mean['cpu']:.2f}", f"{mean['wall']:.2f}", f"{mean['private']:.2f}"]


def _sum(found: list[dict[str, Any]], key: str) -> float:
    return float(sum(each[key] for each in found))


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, nargs="+", default=POSTS)
    parser.add_argument("--keep", type=Path, help="folder in which datasets stay")
    parser.add_argument("--beside", type=Path, help="checkout of another build")
    options = parser.parse_args()
    builds = {"this build": ROOT}
    if options.beside:
        builds = {"the build before": options.beside, **builds}
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for posts in options.posts:
            data = project(options.keep or Path(temporary), posts)
            digests = set()
            for name, build in builds.items():
                lines, digest = measure(name, build, data, posts)
                rows += lines
                print(*map(" | ".join, lines), sep="\n", flush=True)
                digests.add(digest)
            if len(digests) != 1:
                raise RuntimeError("the builds have other batches than each other")
        bare = f"{ranks(ROOT, data, 1)[0]['bare']:.2f}"
    header = ["images", "CPU, s", "s", "private, GB", "eight together, GB"]
    body = table(header, [["imports alone", "", "", bare, ""], *rows])
    write("Training start", (__doc__ or "").split("\n\n", 1)[1] + "\n" + body)


if __name__ == "__main__":
    main()
