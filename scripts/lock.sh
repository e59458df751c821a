#!/bin/sh
# Resolve pyproject.toml in a fresh environment and pin every package in requirements.lock.
set -eu
python=${1:-python3.11}
folder=$(mktemp -d)
trap 'rm -rf "$folder" build' EXIT
"$python" -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0
"$folder/bin/pip" install --quiet ".[dev]"
{
    echo "# Made by \`make lock\` from pyproject.toml; change that, not this."
    "$folder/bin/pip" freeze --exclude nadir | sed 's/+cpu$//'
} > requirements.lock
