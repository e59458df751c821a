#!/usr/bin/env bash
# Expected: `yaml.representer.add_representer(...)` on one YAML() object is a rule of
#           that object: the call goes through the object's own representer.
# Seen:     it is a rule of the class, and so of every YAML() in the process, those
#           that exist already and those of other libraries included.
# Matters:  DVC writes dvc.yaml and dvc.lock by ruamel.yaml. A trainer or script that
#           gives its own params.yaml writer a rule for None, floats or strings, and
#           then uses DVC in the same process, has other bytes in DVC's files than
#           the command line writes: differences in git that nobody made. A subclass
#           as `yaml.Representer` keeps the rule to its writer.
# With:     ruamel.yaml 0.19.1
# Date:     2026-11-29
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet ruamel.yaml==0.19.1
venv/bin/python - <<'PY'
import io

from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter


def written(yaml):
    out = io.StringIO()
    yaml.dump({"steps": 10, "seed": None}, out)
    return out.getvalue()


def as_word(dumper, _value):
    return dumper.represent_scalar("tag:yaml.org,2002:null", "null")


theirs = YAML()
before = written(theirs)


class Mine(RoundTripRepresenter):
    pass


careful = YAML()
careful.Representer = Mine
Mine.add_representer(type(None), as_word)
assert "seed: null" in written(careful)
assert written(YAML()) == before, "a subclass keeps it to itself"

mine = YAML()
mine.representer.add_representer(type(None), as_word)
print("before:", before.splitlines(), "after:", written(theirs).splitlines())
assert written(theirs) != before
PY
echo "as described: a rule given to one YAML() holds for all of them"
# Output seen:
#   before: ['steps: 10', 'seed:'] after: ['steps: 10', 'seed: null']
#   as described: a rule given to one YAML() holds for all of them
