"""The distributions that drawing with a version needs, pinned to what is installed here."""

from __future__ import annotations

import re
from importlib import metadata
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable

# Not imported by us, but by others if it is there, and then weights are loaded another way.
_ALWAYS = ("mlflow", "accelerate")


def pinned_requirements(imports: Iterable[str], *more: str) -> list[str]:
    """Lines such as `torch==2.13.0`, of packages and of all that these require in turn.

    Args:
        imports: Top-level names that are imported.
        more: Names of further distributions.
    """
    owners = metadata.packages_distributions()
    queue = [*_ALWAYS, *more, *(name for module in imports for name in owners.get(module, ()))]
    found: dict[str, str] = {}
    while queue:
        name = _normal(queue.pop())
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # of another platform, or an option of somebody's
        # What is behind `+` says how a wheel was built (`+cpu`), which the other machine chooses.
        found[name] = distribution.version.partition("+")[0]
        queue.extend(_required(distribution))
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _required(distribution: metadata.Distribution) -> list[str]:
    wanted = [Requirement(text) for text in distribution.requires or ()]
    return [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]


def _normal(name: str) -> str:
    """As package indexes compare names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
