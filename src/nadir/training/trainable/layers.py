"""Which layers of a network patterns name: glob patterns of module names, and named groups."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import torch

GROUPS = {
    "attention": "*.attn[12].*",
    "cross_attention": "*.attn2.*",
    "down": "down_blocks.*",
    "mid": "mid_block.*",
    "up": "up_blocks.*",
}
"""Names for parts of SDXL's U-Net."""


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern or group names a layer, or a module that the layer lies in.

    Args:
        name: A module's or a parameter's dotted name.
        pattern: A group, or a glob pattern in which `*` takes dots as well.
    """
    glob = GROUPS.get(pattern, pattern)
    return fnmatchcase(name, glob) or fnmatchcase(name, f"{glob}.*")


def require_matches(patterns: Iterable[str], names: Iterable[str], *, key: str) -> None:
    """Refuse patterns that name nothing.

    Args:
        patterns: From params.yaml.
        names: The layers that there are.
        key: Where the patterns stand, for the error.

    Raises:
        NadirError: The first pattern that matches no name, with names near to it.
    """
    known = list(names)
    for pattern in patterns:
        if not any(matches(name, pattern) for name in known):
            raise NadirError(
                f"the pattern {pattern!r} matches no layer; {_near(pattern, known)}",
                where=f"params.yaml {key}",
                fix=f"name a group ({', '.join(GROUPS)}) or a glob pattern of layers' names",
            )


def _near(pattern: str, names: Iterable[str]) -> str:
    """Names that a misspelt pattern may have meant."""
    known = set(GROUPS)
    for name in names:
        parts = name.split(".")
        known |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    found = difflib.get_close_matches(pattern.strip("*."), sorted(known), n=3, cutoff=0.4)
    return f"near it: {', '.join(found)}" if found else "nothing is named like it"


def factor_of(name: str, rates: Mapping[str, float]) -> float:
    """The factor of the first pattern that names a layer; 1 where none does."""
    return next((factor for pattern, factor in rates.items() if matches(name, pattern)), 1.0)


def freeze_others(network: torch.nn.Module, patterns: Iterable[str] | None) -> None:
    """Let the layers that patterns name take gradients, and no others.

    Args:
        network: Changed in place.
        patterns: From `train.layers`; None names all.

    Raises:
        NadirError: A pattern names nothing.
    """
    names = [name for name, _ in network.named_parameters()]
    if patterns is None:
        network.requires_grad_(requires_grad=True)
        return
    chosen = list(patterns)
    require_matches(chosen, names, key="train.layers")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(any(matches(name, pattern) for pattern in chosen))
