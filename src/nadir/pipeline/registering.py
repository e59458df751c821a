"""The registry's step of a run, which is no stage of DVC: version, judgement, copies."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.pipeline.fingerprint import entry_fingerprint
from nadir.pipeline.graph import dvc_settings
from nadir.pipeline.processes.process import StageResult
from nadir.pipeline.promoting.announcing import challenger_event
from nadir.pipeline.record import REGISTER
from nadir.pipeline.storage.cache import require_sound
from nadir.pipeline.storage.sharing import share_versions
from nadir.tracking.lock_file import read_lock
from nadir.tracking.registry.all_versions import tag_version
from nadir.tracking.registry.registration import Registration, register
from nadir.tracking.registry.settled import note_settled, settled
from nadir.tracking.registry.versions import CHALLENGER, CHAMPION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nadir.pipeline.freshness import StageState
    from nadir.tracking.registry.judgements import Judged
    from nadir.tracking.revision import GitState

ANNOUNCED_TAG = "nadir.announced"
"""On a version whose event was sent to Prefect."""


class Registering:
    """One registration.

    Args:
        root: The project's root.
        flow_run_id: Prefect's id of the flow run.

    Attributes:
        registration: The model version, once registered.
        judged: What it is beside the champion, once registered.
        result: What became of it; None before.
    """

    def __init__(self, root: Path, flow_run_id: str) -> None:
        self.registration: Registration | None = None
        self.judged: Judged | None = None
        self.result: StageResult | None = None
        self._root = root
        self._flow_run_id = flow_run_id
        self._next_time: list[str] | None = None

    def pass_over(self) -> list[str] | None:
        """Note that registering would do nothing, if that is known without asking the registry.

        Returns:
            What registering would say; None where it has to be done.
        """
        lines = self.settled()
        if lines is not None:
            self.result = StageResult(REGISTER, "unchanged")
        return lines

    def settled(self) -> list[str] | None:
        """What registering would say if it did nothing; None where the registry must be asked."""
        return settled(self._root, settings=dvc_settings(self._root))

    def register(self, say: Callable[[str], None]) -> Registration:
        """Register the trained and evaluated checkpoint, and judge it beside the champion.

        Args:
            say: Called with lines about what is drawn for it.

        Raises:
            NadirError: Its files are damaged, or the store refuses.
        """
        from nadir.pipeline.judging import judge_known

        start = time.monotonic()
        fault = ""
        try:
            require_sound(self._root)
            fingerprint = entry_fingerprint(read_lock(self._root)["train"])
            self.registration = register(
                self._root, fingerprint=fingerprint, flow_run_id=self._flow_run_id
            )
            self.judged = judge_known(self.registration.version, self._root, say=say)
        except BaseException as error:
            fault = str(error) or type(error).__name__
            raise
        finally:
            created = self.registration is not None and self.registration.created
            state: StageState = "failed" if fault else "registered" if created else "unchanged"
            duration = time.monotonic() - start
            self.result = StageResult(REGISTER, state, duration, error=fault)
        return self.registration

    def news(self) -> dict[str, Any] | None:
        """Arguments of Prefect's `emit_event` for a new challenger; None where there is no news."""
        version = None if self.registration is None else self.registration.version
        if version is None or ANNOUNCED_TAG in version.tags:
            return None
        if CHALLENGER not in version.aliases or CHAMPION in version.aliases:
            return None
        return challenger_event(version, self.judged)

    def announced(self) -> None:
        """Note that the challenger's event was sent, so that it is sent once.

        Raises:
            NadirError: The store refuses.
        """
        if self.registration is not None:
            tag_version(self._root, self.registration.version, {ANNOUNCED_TAG: "true"})

    def told(self) -> list[str]:
        """What it came to, line by line; nothing before."""
        return [] if self.registration is None else _told(self.registration, self.judged)

    def share(self, say: Callable[[str], None], *, git_fault_is_told: bool) -> None:
        """Send what is registered to DVC's and git's remote; what cannot be sent is said.

        Args:
            say: Called with what is sent, what could not be, and what to do about it.
            git_fault_is_told: Whether it was said before that git cannot tell the code's state.
        """
        if self.registration is None:
            return
        fault = self.registration.version.tags.get("git.fault", "")
        if self.registration.created and fault and not git_fault_is_told:
            say(f"warning: this version names no exact state of the code: {fault}")
        lines: list[str] = []

        def keep(line: str) -> None:
            lines.append(line)
            say(line)

        try:
            if share_versions(self._root, self.registration.version, keep):
                again = replace(self.registration, created=False)
                self._next_time = [*_told(again, self.judged), *lines]
        except NadirError as error:
            say(f"register: nothing is sent: {error}")

    def note_settled(self) -> None:
        """Let the next run pass it over, if nothing is left to do; for the end of a run.

        Raises:
            NadirError: The store cannot be asked.
        """
        if self.registration is None or self.judged is None or self._next_time is None:
            return
        if self.judged.is_final:
            note_settled(
                self._root,
                self.registration.version,
                self._next_time,
                settings=dvc_settings(self._root),
                files=[self.judged.page] if self.judged.page else [],
            )


def _told(registration: Registration, judged: Judged | None) -> list[str]:
    version = registration.version
    what = "registered" if registration.created else "already is"
    aliases = ", ".join(version.aliases) or "no alias"
    lines = [f"register: {what} {version.name} version {version.version} ({aliases})"]
    if judged is not None:
        lines.append(f"judge: {judged.verdict}: {judged.reason}")
        if judged.page is not None:
            lines.append(f"judge: report: {judged.page}")
    return lines


def lineage_warnings(git: GitState) -> list[str]:
    """What to tell of a clone in which git cannot say which code makes the model."""
    if not git.fault:
        return []
    told = f"warning: the model will not name the code that made it; git says: {git.fault}"
    return [f"{told}\n  fix: {git.fix}"]
