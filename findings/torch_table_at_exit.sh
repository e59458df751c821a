#!/usr/bin/env bash
# Expected: a process that compiled nothing ends without a word and without work.
# Seen:     once torch._dynamo is loaded, which `import diffusers` does, the end of the
#           process formats a table of compile times for a log at level INFO that
#           nobody asked for. Where `tabulate` is installed it is imported for that,
#           with all that it brings, after the last line of the program.
# Matters:  pipelines start many short processes: with tabulate and wcwidth there
#           (DVC brings both) a third of a CPU second each. Unregistering
#           `torch._dynamo.utils.dump_compile_times` at the program's start ends it.
# With:     torch 2.13.0, tabulate 0.10.0, wcwidth 0.9.4
# Date:     2026-11-29
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy tabulate==0.10.0 wcwidth==0.9.4
cat > program.py <<'PY'
import atexit
import os
import sys


def told():
    print(f"at the end tabulate is loaded: {'tabulate' in sys.modules}", flush=True)


atexit.register(told)  # the first that is registered is the last that is called
import torch._dynamo

if os.environ.get("WITHOUT"):
    atexit.unregister(torch._dynamo.utils.dump_compile_times)
print(f"when all is done it is loaded: {'tabulate' in sys.modules}")
PY
venv/bin/python program.py 2> /dev/null | tee said
WITHOUT=1 venv/bin/python program.py 2> /dev/null | tee without
grep -q "done it is loaded: False" said && grep -q "end tabulate is loaded: True" said
grep -q "end tabulate is loaded: False" without
echo "as described: torch loads a library to draw a table as the process ends"
# Output seen:
#   when all is done it is loaded: False
#   at the end tabulate is loaded: True
#   when all is done it is loaded: False
#   at the end tabulate is loaded: False
#   as described: torch loads a library to draw a table as the process ends
