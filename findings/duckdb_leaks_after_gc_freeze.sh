#!/usr/bin/env bash
# Expected: a program that calls gc.freeze() after its imports, as the documentation
#           of gc advises to keep memory shared after a fork, ends as silently with
#           DuckDB as without.
# Seen:     with DuckDB 2.0.0 (whose bindings are by nanobind) the process ends with
#           some fifty lines on standard error, "nanobind: leaked
#           27 instances!", types and functions, whether or not DuckDB was used. The
#           exit code stays 0.
# Matters:  trainers and worker processes freeze what their imports made; the report
#           lands at the end of each one's log, under the last true message, and reads
#           like a fault of the program. atexit.register(gc.unfreeze) is the cure.
# With:     duckdb 2.0.0 (beside 1.4.4)
# Date:     2026-11-28
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for version in 1.4.4 2.0.0; do
  "${PYTHON:-python3}" -m venv "venv-$version"
  "venv-$version/bin/pip" install --quiet "duckdb==$version"
  for rest in "gc.freeze()" "gc.freeze(); atexit.register(gc.unfreeze)" "pass"; do
    "venv-$version/bin/python" -c "import atexit, gc, duckdb; $rest" 2>said.txt
    echo "duckdb $version, $rest: exit 0, $(wc -l < said.txt) lines, $(grep -c 'leaked [0-9]* ' said.txt || true) kinds of leaks"
  done
done | tee seen.txt
grep -q "^duckdb 2.0.0, gc.freeze(): exit 0, [1-9][0-9]* lines, 3 kinds" seen.txt
test "$(grep -c ' 0 kinds' seen.txt)" = 5
echo "as described: frozen objects are reported as leaks"
# Output seen:
#   duckdb 1.4.4, gc.freeze(): exit 0, 0 lines, 0 kinds of leaks
#   duckdb 1.4.4, gc.freeze(); atexit.register(gc.unfreeze): exit 0, 0 lines, 0 kinds of leaks
#   duckdb 1.4.4, pass: exit 0, 0 lines, 0 kinds of leaks
#   duckdb 2.0.0, gc.freeze(): exit 0, 47 lines, 3 kinds of leaks
#   duckdb 2.0.0, gc.freeze(); atexit.register(gc.unfreeze): exit 0, 0 lines, 0 kinds of leaks
#   duckdb 2.0.0, pass: exit 0, 0 lines, 0 kinds of leaks
#   as described: frozen objects are reported as leaks
