"""Names of an adapter's files, and which of them a path means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

KOHYA_FILE = "adapter.safetensors"
"""In kohya's names."""
DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"
"""In diffusers' form."""

_INSIDE = (DIFFUSERS_FILE, KOHYA_FILE, f"adapter/{DIFFUSERS_FILE}", f"adapter/{KOHYA_FILE}")


def adapter_file(source: Path) -> Path:
    """The file that is read where `source` is named.

    Args:
        source: A file, or a folder that Nadir or diffusers wrote.

    Raises:
        NadirError: No adapter is there.
    """
    if source.is_file():
        return source
    found = [source / name for name in _INSIDE if (source / name).is_file()]
    if not found:
        raise NadirError(
            "there is no adapter here",
            where=str(source),
            fix=f"name a .safetensors file, or a folder with {KOHYA_FILE} or {DIFFUSERS_FILE}",
        )
    return found[0]
