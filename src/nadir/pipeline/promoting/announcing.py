"""What Prefect's events say of the registry: automations hang on their names and resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nadir.pipeline.promoting.operation import Outcome
    from nadir.tracking.registry.judgements import Judged
    from nadir.tracking.registry.versions import Version

CHALLENGER = "nadir.challenger.registered"
CHAMPION = "nadir.champion.changed"


def challenger_event(version: Version, judged: Judged | None) -> dict[str, Any]:
    """Arguments of Prefect's `emit_event`: a version was registered that challenges the champion.

    Args:
        version: It.
        judged: What it is beside the champion.
    """
    said = {} if judged is None else {"verdict": judged.verdict, "reason": judged.reason}
    payload = {"model": version.name, "version": version.version, **said}
    return {"event": CHALLENGER, "resource": _resource(version.name), "payload": payload}


def champion_event(done: Outcome) -> dict[str, Any]:
    """Arguments of Prefect's `emit_event`: what a promotion or a way back came to.

    Args:
        done: It; `changed` in the payload says whether anything moved.
    """
    moved = done.promotion
    payload = {
        "model": moved.name,
        "version": moved.champion,
        "previous": moved.previous,
        "changed": moved.changed,
        "fault": done.fault,
    }
    return {"event": CHAMPION, "resource": _resource(moved.name), "payload": payload}


def _resource(name: str) -> dict[str, str]:
    return {"prefect.resource.id": f"nadir.model.{name}", "prefect.resource.name": name}
