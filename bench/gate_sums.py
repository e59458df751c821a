"""The gate on a written manifest, its own start included.

The suite of params.yaml on a manifest of synthetic posts with 35 tags each, in a process of its own
for each measurement, the import of Great Expectations within it. With `--beside FOLDER`, the
checkout of another build, each is made in turn with that build's; the least CPU time of three, and
the largest peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.booru import write_manifest
from bench.performance import write
from bench.results import ROOT, table

_ROUNDS = 3
_GATE = """
import json, resource, sys, time
from pathlib import Path
from nadir.config.reader import read_section
from nadir.config.validate import ValidateParams
from nadir.data.gate.expectations import run_gate
from nadir.data.gate.suite import suite
expectations = suite(read_section("validate", ValidateParams, Path(sys.argv[2])))
totals = {each.name: 1 for each in expectations if each.table == "totals"}
wall, processor = time.perf_counter(), time.process_time()
outcomes = run_gate(expectations, manifest=Path(sys.argv[1]), totals=totals)
took = [time.process_time() - processor, time.perf_counter() - wall]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(json.dumps([*took, peak, [each.text for each in outcomes]]))
"""


def gate_with(build: Path, manifest: Path) -> tuple[float, float, float, list[str]]:
    """CPU seconds, seconds, GB and texts of a build's gate."""
    command = [sys.executable, "-c", _GATE, str(manifest), str(ROOT / "params.yaml")]
    environment = os.environ | {"PYTHONPATH": str(build / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    cpu, wall, peak, texts = json.loads(done.stdout.splitlines()[-1])
    return cpu, wall, peak, texts


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, nargs="+", default=(60_000, 600_000, 6_000_000))
    parser.add_argument("--beside", type=Path, help="checkout of another build")
    options = parser.parse_args()
    before = {"the build before": options.beside.resolve()} if options.beside else {}
    builds, rows = {"this build": ROOT} | before, []
    for posts in options.posts:
        with tempfile.TemporaryDirectory() as folder:
            manifest = Path(folder) / "manifest.parquet"
            write_manifest(manifest, posts)
            turns = [{n: gate_with(b, manifest) for n, b in builds.items()} for _ in range(_ROUNDS)]
        if any(found[3] != turns[0]["this build"][3] for turn in turns for found in turn.values()):
            raise RuntimeError("the builds find different things")
        for name in builds:
            cpu, wall = (min(turn[name][part] for turn in turns) for part in (0, 1))
            peak = max(turn[name][2] for turn in turns)
            rows.append([f"{posts:,}, {name}", f"{cpu:.2f}", f"{wall:.2f}", f"{peak:.2f}"])
    header = ["images", "CPU, s", "s", "GB"]
    write("The gate's sums", (__doc__ or "").split("\n\n", 1)[1] + "\n" + table(header, rows))


if __name__ == "__main__":
    main()
