"""One run of the pipeline: which stages, what became of each, and its record in MLflow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.ground.logs.entry import bind
from nadir.ground.run_record import read_run
from nadir.ground.workspace import main_workspace
from nadir.pipeline.fingerprint import stage_fingerprint
from nadir.pipeline.freshness import Change, change_of_inputs
from nadir.pipeline.graph import ancestors, changed_stages, order, pipeline_graph
from nadir.pipeline.mlflow_summary import close_in_mlflow
from nadir.pipeline.processes.process import StageResult, run_stage
from nadir.pipeline.record import REGISTER, runs_folder, write_record
from nadir.pipeline.registering import Registering, lineage_warnings
from nadir.pipeline.storage.cached_damage import mend_outputs
from nadir.pipeline.storage.computed_elsewhere import Elsewhere
from nadir.pipeline.watching.drift import Drift, look_at_drift
from nadir.pipeline.watching.metrics import leave_metrics
from nadir.tracking.lock_file import read_lock, stage_definitions
from nadir.tracking.registry.judgements import check_parameters
from nadir.tracking.revision import git_state
from nadir.tracking.runs.journal import catch_up
from nadir.tracking.runs.pipeline_run import (
    PIPELINE_VARIABLE,
    RunStatus,
    announce_pipeline,
    conclude_pipeline,
    forget_pipeline,
    pipeline_run,
)
from nadir.tracking.runs.training_run import close_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nadir.tracking.registry.registration import Registration

_TRAIN, _VALIDATE = "train", "validate"
_ATTEMPTS = 3
"""How often a stage's restored outputs may turn out damaged: cache, then remote, then made anew."""


class Session:
    """A pipeline run in progress.

    Args:
        root: The project's root.
        until: Run only this stage and what it needs; None runs all and registers.
        flow_run_id: Prefect's id of the flow run.
        name: The flow run's name, which its MLflow run gets too.
        lock: Descriptor of the workspace lock.
        earlier: Results of stages that the same command ran before this session.

    Attributes:
        stages: What to run, in order.
        registers: Whether the run goes through to the registry.
        results: What became of the stages so far.
        registering: The registry's step, which comes last.
        git: Where code and parameters stand.
        drift: How far a new dataset is from the champion's; None where it is not new.
        notes: What the pipeline itself has to tell, for its caller to print.

    Raises:
        NadirError: `until` is not a stage, or DVC cannot read the pipeline.
    """

    def __init__(
        self,
        root: Path,
        *,
        until: str | None,
        flow_run_id: str,
        name: str,
        lock: int,
        earlier: Mapping[str, StageResult] | None = None,
    ) -> None:
        self.root = root
        self.flow_run_id = flow_run_id
        self.registers = until in {None, REGISTER}
        self._graph = pipeline_graph(root)
        self.stages = order(self._graph, None if self.registers else until)
        self.results: dict[str, StageResult] = dict(earlier or {})
        self.registering = Registering(root, flow_run_id)
        # What was registered with the same parameters was checked then, and checking imports much.
        if self.registers and self.registering.settled() is None:
            check_parameters(root)
        self.git = git_state(root)
        self.notes = lineage_warnings(self.git)
        self.drift: Drift | None = None
        definitions = stage_definitions(root)
        self._always = {s for s in self._graph if definitions.get(s, {}).get("always_changed")}
        self._lock = lock
        self._elsewhere = Elsewhere(root)
        self._current = ""
        self._changed: dict[str, Change] | None = None
        self._ran_before_status: set[str] = set()
        self._started, self._began = time.time(), time.monotonic()
        self._run_file = runs_folder(root) / f"{flow_run_id}.json"
        announce_pipeline(self._run_file, flow_run_id=flow_run_id, name=name)

    def run(
        self,
        stage: str,
        *,
        on_line: Callable[[str], None] | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> StageResult:
        """Run one stage, unless DVC says that there is nothing to do.

        Raises:
            NadirError: The stage failed; the text names it and says why.
        """
        say = on_line or (lambda _line: None)
        bind(stage=stage)
        result = self.pass_over(stage, say) or self._work(stage, say, on_event)
        self.results[stage] = result
        self._write_record("running")
        if result.state == "failed":
            raise NadirError(f"stage `{stage}` failed: {result.error}\n  log: {result.log}")
        if stage == _VALIDATE and result.state != "unchanged":
            self.drift = look_at_drift(self.root, say)
        return result

    def _work(
        self,
        stage: str,
        say: Callable[[str], None],
        on_event: Callable[[dict[str, Any]], None] | None,
    ) -> StageResult:
        """Give a stage to DVC, until what it restores is sound."""
        self._current = stage
        self._write_record("running", current=stage)
        if Change.OUTPUTS in self._change(stage):
            mend_outputs(stage, self.root, say, restore=self._has_old_inputs(stage))
        if stage not in self._always:
            self._elsewhere.bring(stage, say)
        for _ in range(_ATTEMPTS):
            result = run_stage(
                stage,
                self.root,
                environment={PIPELINE_VARIABLE: str(self._run_file)},
                inherit=(self._lock,),
                on_line=say,
                on_event=lambda event: self._heard(stage, event, on_event),
            )
            if result.state != "restored" or not mend_outputs(stage, self.root, say, restore=True):
                break
        return result

    def pass_over(self, stage: str, say: Callable[[str], None]) -> StageResult | None:
        """Note that there is nothing to do for a stage, if DVC says so.

        Args:
            stage: Its name.
            say: Called with what was found damaged.

        Returns:
            None where it has to run: it always does, or DVC calls it changed.
        """
        if not self._is_unchanged(stage) or self._is_damaged(stage, say):
            return None
        self.results[stage] = StageResult(stage, "unchanged")
        return self.results[stage]

    @property
    def registration(self) -> Registration | None:
        """The model version, once registered."""
        return self.registering.registration

    def always_runs(self, stage: str) -> bool:
        """Whether a stage has to run to know whether it has news."""
        return stage in self._always

    def register(self, say: Callable[[str], None] = lambda _line: None) -> Registration:
        """Register the trained and evaluated checkpoint, and judge it beside the champion.

        Args:
            say: Called with lines about what is drawn for it.

        Raises:
            NadirError: Its files are damaged, or the store refuses.
        """
        self._write_record("running", current=REGISTER)
        bind(stage=REGISTER)
        return self.registering.register(say)

    def close(self, status: RunStatus) -> None:
        """Write the record of the run; a run that computed or failed closes its MLflow run.

        Raises:
            NadirError: MLflow cannot be reached; the next session of this workspace will record it.
        """
        conclude_pipeline(self._run_file, status)
        self._write_record(status.lower())
        if status != "FINISHED" or self._is_complete():
            leave_metrics(self.root, self._all_results(), status=status, started=self._started)
        if any(result.state == "failed" for result in self.results.values()):
            pipeline_run(self._run_file, self.root)
            self._write_record(status.lower())
        run_id = read_run(self._run_file).run_id
        if run_id:
            close_in_mlflow(
                run_id,
                status,
                results=self.results,
                registering=self.registering.result,
                registration=self.registration,
                drift=self.drift,
                root=self.root,
            )
        if status != "FINISHED":
            self._close_training_run(status)
        catch_up(self.root)
        forget_pipeline(self._run_file)
        self.registering.note_settled()

    def _is_unchanged(self, stage: str) -> bool:
        """Whether DVC's status says so; it is asked again only when a stage before has run since.

        One question for all stages is quicker than one `dvc repro` for each.
        """
        # DVC would call it changed each time, and it must be run to know.
        if stage in self._always:
            return False
        # A restored stage counts as one that ran: its outputs are others than DVC looked at.
        ran = {name for name, result in self.results.items() if result.state != "unchanged"}
        # What DVC said is stale for this stage once one that it depends on has run since: that may
        # have written other outputs. Runs from before the question are in its answer already.
        stale = bool((ran - self._ran_before_status) & ancestors(self._graph, stage))
        # Only "unchanged" has to be asked again. A stage that was called changed is given to `dvc
        # repro` anyhow, which looks by itself and skips what turns out to be the same after all.
        if self._changed is None or (stale and stage not in self._changed):
            # One question answers for all stages, so it is asked once where nothing is new.
            self._changed = changed_stages(self.root)
            self._ran_before_status = ran
        return self._change(stage) is Change.NOTHING

    def _change(self, stage: str) -> Change:
        """What DVC last said of a stage; nothing before it was first asked."""
        return (self._changed or {}).get(stage, Change.NOTHING)

    def _has_old_inputs(self, stage: str) -> bool:
        """Whether the stage would be run with what made its entry in `dvc.lock`."""
        return change_of_inputs(stage, self.root, read_lock(self.root).get(stage)) is Change.NOTHING

    def _is_damaged(self, stage: str, say: Callable[[str], None]) -> bool:
        """Whether the weights differ from what was trained although DVC sees no change.

        Damage may keep size and time of a file, by which DVC knows it. Only weights that are about
        to be registered are read for that, since reading costs time.
        """
        if stage != _TRAIN or not self.registers:
            return False
        return mend_outputs(stage, self.root, say, restore=True)

    def _heard(
        self,
        stage: str,
        event: dict[str, Any],
        on_event: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        # Stages that always run, like the listing of the source, are no news by themselves.
        if event["kind"] == "stage_started" and stage not in self._always:
            pipeline_run(self._run_file, self.root)
        if on_event is not None:
            on_event(event)

    def _close_training_run(self, status: RunStatus) -> None:
        """A trainer that was killed could not close its run itself."""
        runs = main_workspace(self.root) / "work" / "training"
        if self._current == _TRAIN:
            close_run(runs / stage_fingerprint(_TRAIN, self.root), status, self.root)

    def _all_results(self) -> dict[str, StageResult]:
        last = self.registering.result
        return {**self.results, **({} if last is None else {last.stage: last})}

    def _is_complete(self) -> bool:
        """Whether nothing is left to do; the listing before a flow leaves the rest to it."""
        return {*self.stages, *[REGISTER] * self.registers} <= self._all_results().keys()

    def _write_record(self, status: str, *, current: str | None = None) -> None:
        write_record(
            self.root,
            self._all_results(),
            status=status,
            started=self._started,
            duration_s=time.monotonic() - self._began,
            run=read_run(self._run_file),
            current=current,
        )
