#!/bin/sh
# Write sbom.json (CycloneDX) from the installed environment, by a tool in one of its own.
set -eu
python=${1:-python3.11}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0
"$folder/bin/cyclonedx-py" environment --output-reproducible --spec-version 1.6 \
    --output-format JSON --pyproject pyproject.toml .venv > "$folder/sbom.json"
# The environment also holds pip and setuptools, and the project with its path on this machine.
"$python" scripts/trim_sbom.py "$folder/sbom.json" > sbom.json
