"""What the registry answered, kept until somebody writes to it: MLflow takes seconds to import.

Of a store on a server nothing is kept: only asking tells whether somebody else changed it. Other
code than the one that asked, which may judge or answer otherwise, asks anew.
"""

from __future__ import annotations

import contextlib
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nadir
from nadir.ground.files import DamagedJsonError, read_json_object, write_json
from nadir.ground.secrets import masked_tree
from nadir.ground.workspace import main_workspace
from nadir.tracking.store.state import store_state

if TYPE_CHECKING:
    from collections.abc import Callable


def remembered(root: Path, question: str, ask: Callable[[], Any]) -> Any:
    """The answer to a question about the registry, asked again only if the store has changed.

    Args:
        root: The project's root.
        question: With everything but the store's contents that the answer depends on.
        ask: Gives the answer, which JSON can hold.
    """
    known = recall(root, question)
    if known is not None:
        return known
    before = store_state(root)
    answer = ask()
    if before is not None and store_state(root) == before:
        remember(root, question, answer, state=before)
    return answer


def recall(root: Path, question: str) -> Any:
    """What was remembered; None when that is nothing, or the store has changed since."""
    return _answers(root, store_state(root)).get(question)


def remember(root: Path, question: str, answer: Any, *, state: str) -> None:
    """Keep an answer for as long as the store stays in this state.

    Args:
        root: The project's root.
        question: As `remembered` takes it.
        answer: Anything that JSON can hold, but None.
        state: `store_state` from before the store was asked.
    """
    answers = _answers(root, state) | {question: answer}
    write_json(_file(root), masked_tree({"state": state, "code": _code(), "answers": answers}))


def _answers(root: Path, state: str | None) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError, DamagedJsonError):
        kept = read_json_object(_file(root))
    answers = kept.get("answers")
    same = state is not None and (kept.get("state"), kept.get("code")) == (state, _code())
    return answers if same and isinstance(answers, dict) else {}


@cache
def _code() -> str:
    """Hash of the whole package, 20 ms of reading."""
    found = sha256()
    for path in sorted(Path(nadir.__file__).parent.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:32]


def _file(root: Path) -> Path:
    return main_workspace(root) / "work" / "mlflow" / "remembered.json"
