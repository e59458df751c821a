"""Keep of a bill of materials what identifies a package: name, version, licence, dependencies.

`python scripts/trim_sbom.py FILE`: prints it. Texts and links of packages would change with each
release of the tool, and be most of the file; what only builds an environment is left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_BUILDERS = {"pip", "setuptools", "wheel", "nadir"}
_KEPT = ("bom-ref", "type", "name", "version", "purl", "licenses")


def trimmed(bom: dict[str, Any]) -> dict[str, Any]:
    """The bill with its components reduced, without the local part of versions (`+cpu`)."""
    components = [c for c in bom["components"] if c["name"].lower() not in _BUILDERS]
    references = {c["bom-ref"] for c in components} | {bom["metadata"]["component"]["bom-ref"]}
    dependencies = [
        {**entry, "dependsOn": [ref for ref in entry.get("dependsOn", []) if ref in references]}
        for entry in bom["dependencies"]
        if entry["ref"] in references
    ]
    return {
        **{key: bom[key] for key in ("$schema", "bomFormat", "specVersion", "version")},
        "metadata": {"component": bom["metadata"]["component"]},
        "components": [{key: c[key] for key in _KEPT if key in c} for c in components],
        "dependencies": dependencies,
    }


def main() -> None:
    """Print the trimmed bill."""
    bom = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    text = json.dumps(trimmed(bom), indent=1, sort_keys=True)
    sys.stdout.write(text.replace("+cpu", "").replace("%2Bcpu", "") + "\n")


if __name__ == "__main__":
    main()
