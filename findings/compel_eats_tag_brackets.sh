#!/usr/bin/env bash
# Expected: compel's own syntax is (words)1.2 and word+; other brackets and signs of
#           booru tags reach the text encoder as they are, or are refused.
# Seen:     brackets without a weight are dropped from the text: "saber (fate)" is
#           encoded as "saber fate". The weight of A1111 and ComfyUI becomes words: of
#           "(red hair:1.2)" the encoder reads "red hair:1 . 2", unweighted. The faces
#           "-_-" and "+_+" lose a sign and are weighted 0.9 and 1.1. Quotation marks
#           vanish. A backslash before brackets keeps them.
# Matters:  models trained on tags know "saber (fate)" as a character, tokens of the
#           brackets included; previews and evaluations drawn through compel ask for
#           something else than the captions say, with no warning, and a loss seen
#           only there looks like a fault of the training.
# With:     compel 2.5.1, transformers 5.23.0, diffusers 0.42.1, torch 2.13.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet compel==2.5.1 transformers==5.23.0 diffusers==0.42.1 torch==2.13.0

cat > check.py <<'PY'
import importlib.metadata

from compel.prompt_parser import PromptParser

print("compel", importlib.metadata.version("compel"))


def read(prompt):
    """The pieces of text that go to the encoder, with their weights."""
    (flat,) = PromptParser().parse_conjunction(prompt).prompts
    return [(piece.text, round(piece.weight, 3)) for piece in flat.children]


expected = {
    "saber (fate)": [("saber fate", 1.0)],
    "saber \\(fate\\)": [("saber (fate)", 1.0)],
    "touhou (pc-98), solo": None,
    "(red hair:1.2)": [("red hair:1 . 2", 1.0)],
    "(red hair)1.2": [("red hair", 1.2)],
    "-_-": [("-_", 0.9)],
    "+_+": [("+_", 1.1)],
    "^_^": [("^_^", 1.0)],
}
for prompt, want in expected.items():
    got = read(prompt)
    print(f"{prompt!r}: {got}")
    if want is None:
        assert not any(sign in text for text, _ in got for sign in "()")
    else:
        assert got == want, (got, want)
print("as described: brackets, foreign weights and faces change on the way")
PY
HF_HUB_OFFLINE=1 venv/bin/python check.py 2> errors.txt || { cat errors.txt; exit 1; }
# Output seen:
#   compel 2.5.1
#   'saber (fate)': [('saber fate', 1.0)]
#   'saber \\(fate\\)': [('saber (fate)', 1.0)]
#   'touhou (pc-98), solo': [('touhou pc-98 , solo', 1.0)]
#   '(red hair:1.2)': [('red hair:1 . 2', 1.0)]
#   '(red hair)1.2': [('red hair', 1.2)]
#   '-_-': [('-_', 0.9)]
#   '+_+': [('+_', 1.1)]
#   '^_^': [('^_^', 1.0)]
#   as described: brackets, foreign weights and faces change on the way
