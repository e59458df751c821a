#!/usr/bin/env bash
# Expected: np.unique of many different integer keys costs about what a sort does,
#           or less since it goes by hashing (2.3 and later).
# Seen:     for keys that are nearly all different it takes 30 to 100 times as
#           long as np.sort with a comparison of neighbours, and more per key the
#           more there are. return_counts or return_inverse sort as before, and are
#           far quicker than the plain call that has less to do. Of few different
#           values the plain call takes twice as long as a sort.
# Matters:  lists of image ids, perceptual hashes and latent rows are exactly such
#           keys: dropping doubles of six million hashes takes 11 s of processor
#           time where sorting takes a quarter of a second, or more than everything
#           else that is done to them. np.unique(keys, return_counts=True)[0], or
#           sorting by oneself, is the cure.
# With:     numpy 2.4.6 (beside 2.2.6, which sorts)
# Date:     2026-11-28
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > unique.py <<'PY'
import time

import numpy as np


def seconds(call):
    best = []
    for _ in range(3):
        start = time.process_time()
        call()
        best.append(time.process_time() - start)
    return min(best)


def by_sorting(keys):
    keys = np.sort(keys)
    return keys[np.r_[True, keys[1:] != keys[:-1]]]


ratios = []
for count in (300_000, 1_500_000):
    keys = np.random.default_rng(0).integers(0, 2**63, count, np.uint64)
    assert np.array_equal(np.unique(keys), by_sorting(keys))
    plain, sort = seconds(lambda: np.unique(keys)), seconds(lambda: by_sorting(keys))
    counted = seconds(lambda: np.unique(keys, return_counts=True))
    ratios.append((plain / sort, counted / sort))
    print(f"numpy {np.__version__}, {count:,} keys: plain {plain / sort:.0f} times a sort, "
          f"with counts {counted / sort:.0f} times")
few = np.random.default_rng(0).integers(0, 500, 1_500_000, np.uint64)
print(f"  500 different among 1,500,000: {seconds(lambda: np.unique(few)) / seconds(lambda: by_sorting(few)):.1f}")
if np.__version__ == "2.4.6":
    assert all(plain > 10 and plain > 3 * counted for plain, counted in ratios), ratios
else:
    assert all(plain < 5 for plain, _ in ratios), ratios
PY
for version in 2.2.6 2.4.6; do
  "${PYTHON:-python3}" -m venv "venv-$version"
  "venv-$version/bin/pip" install --quiet "numpy==$version"
  "venv-$version/bin/python" unique.py
done
echo "as described: dropping doubles among different keys is far slower than sorting them"
# Output seen:
#   numpy 2.2.6, 300,000 keys: plain 1 times a sort, with counts 2 times
#   numpy 2.2.6, 1,500,000 keys: plain 1 times a sort, with counts 1 times
#     500 different among 1,500,000: 1.2
#   numpy 2.4.6, 300,000 keys: plain 35 times a sort, with counts 1 times
#   numpy 2.4.6, 1,500,000 keys: plain 71 times a sort, with counts 1 times
#     500 different among 1,500,000: 2.3
#   as described: dropping doubles among different keys is far slower than sorting them
