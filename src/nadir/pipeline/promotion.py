"""Promotion and rollback of versions whose weights can be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.pipeline.storage.cache import require_weights
from nadir.tracking.registry import promotion

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.tracking.registry.promotion import Promotion


def promote(
    root: Path | None = None,
    *,
    version: int | None = None,
    force_reason: str | None = None,
    flow_run_id: str = "",
) -> Promotion:
    """Make a version the champion; see `nadir.tracking.registry.promotion.promote`.

    Args:
        root: The project's root.
        version: Its number; None is the challenger.
        force_reason: Promote whatever was judged, and why.
        flow_run_id: Prefect's id of the flow run, for the log.

    Raises:
        NadirError: No such version, it was not judged better than this very champion, or its
            weights are nowhere.
    """
    return promotion.promote(
        root,
        version=version,
        require_weights=require_weights,
        force_reason=force_reason,
        flow_run_id=flow_run_id,
    )


def rollback(root: Path | None = None, *, flow_run_id: str = "") -> Promotion:
    """Make the previous champion live again.

    Args:
        root: The project's root.
        flow_run_id: Prefect's id of the flow run, for the log.

    Raises:
        NadirError: There was no champion before this one, or its weights are nowhere.
    """
    return promotion.rollback(root, require_weights=require_weights, flow_run_id=flow_run_id)
