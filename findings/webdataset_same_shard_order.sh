#!/usr/bin/env bash
# Expected: WebDataset(shards, shardshuffle=100) draws a new order of shards for every
#           epoch; a seed makes the whole sequence of epochs repeatable.
# Seen:     the order is drawn once and every epoch repeats it: in one process, with
#           workers (persistent or not), with .repeat(), with and without a seed.
#           .shuffle(size, seed=...) repeats itself as well. Only detshuffle=True
#           (or .shuffle() without a seed, inside its buffer) changes with the epoch,
#           and with workers that are not persistent not even detshuffle does.
# Matters:  booru sets are cut into shards by id or date, so neighbours share artist
#           and style. Every epoch visits these in one and the same order, the weight
#           average ends on the same pictures each time, and batches mix only what
#           the sample buffer holds. Use detshuffle=True with persistent_workers=True,
#           or resampled=True.
# With:     webdataset 1.0.2, torch 2.13.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet webdataset==1.0.2 torch==2.13.0

cat > check.py <<'PY'
import importlib.metadata

import webdataset as wds

print("webdataset", importlib.metadata.version("webdataset"))
shards = [f"{number:02d}.tar" for number in range(12)]
for shard in shards:
    with wds.TarWriter(shard) as tar:
        for sample in range(3):
            tar.write({"__key__": f"{shard[:2]}_{sample}", "txt": "1girl"})


def order(source):
    """The shards in the order in which their first samples come."""
    return [s["__key__"][:2] for s in source if s["__key__"].endswith("_0")]


def epochs(options, **loading):
    source = wds.WebDataset(shards, **options)
    if loading:
        source = wds.WebLoader(source, batch_size=None, **loading)
    return [order(source) for _ in range(3)]


def report(label, seen, changes):
    distinct = len({tuple(epoch) for epoch in seen})
    print(f"{label}: {distinct} order(s) in {len(seen)} epochs, first {' '.join(seen[0])}")
    assert all(sorted(epoch) == sorted(seen[0]) for epoch in seen)
    assert (distinct > 1) == changes


if __name__ == "__main__":
    plain, seeded = {"shardshuffle": 100}, {"shardshuffle": 100, "seed": 7}
    by_epoch = {"shardshuffle": 100, "detshuffle": True}
    keep = {"num_workers": 1, "persistent_workers": True}
    report("shardshuffle", epochs(plain), False)
    report("shardshuffle, seed", epochs(seeded), False)
    report("shardshuffle, a worker", epochs(plain, num_workers=1), False)
    report("shardshuffle, a persistent worker", epochs(plain, **keep), False)
    twice = order(wds.WebDataset(shards, **plain).repeat(3))
    report("shardshuffle, .repeat(3)", [twice[:12], twice[12:24], twice[24:]], False)
    report("detshuffle", epochs(by_epoch), True)
    report("detshuffle, a worker", epochs(by_epoch, num_workers=1), False)
    report("detshuffle, a persistent worker", epochs(by_epoch, **keep), True)
    source = wds.WebDataset(shards, shardshuffle=False).shuffle(20, seed=7)
    report(".shuffle(20, seed=7)", [order(source) for _ in range(3)], False)
    print("as described: one order for all epochs")
PY
venv/bin/python check.py
# Output seen:
#   webdataset 1.0.2
#   shardshuffle: 1 order(s) in 3 epochs, first 09 10 05 03 11 04 02 01 08 00 07 06
#   shardshuffle, seed: 1 order(s) in 3 epochs, first 05 02 06 00 01 09 04 08 10 03 11 07
#   shardshuffle, a worker: 1 order(s) in 3 epochs, first 02 03 10 04 09 00 06 01 11 08 05 07
#   shardshuffle, a persistent worker: 1 order(s) in 3 epochs, first 04 11 08 01 06 05 10 03 09 02 00 07
#   shardshuffle, .repeat(3): 1 order(s) in 3 epochs, first 05 10 08 03 01 06 00 11 07 02 09 04
#   detshuffle: 3 order(s) in 3 epochs, first 03 08 05 09 11 01 00 06 07 04 02 10
#   detshuffle, a worker: 1 order(s) in 3 epochs, first 00 01 09 03 07 11 08 05 04 02 06 10
#   detshuffle, a persistent worker: 3 order(s) in 3 epochs, first 04 01 08 11 05 06 09 10 00 03 02 07
#   .shuffle(20, seed=7): 1 order(s) in 3 epochs, first 04 01 06 02 11 03 05 00 10 07 09 08
#   as described: one order for all epochs
