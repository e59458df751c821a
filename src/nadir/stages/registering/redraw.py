"""A registered checkpoint, evaluated by the plan that another one has: no stage of DVC.

    python -m nadir.stages.registering.redraw FOLDER PLAN_OF MD5

The result goes to `work/evaluations/<protocol>/<md5>`; the protocol is told in the `result` event.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from nadir.config.evaluate import EvaluateParams
from nadir.config.reader import read_section
from nadir.evaluation.report.samples import sample_sheets, write_samples
from nadir.ground.events import emit
from nadir.ground.files import atomic_folder
from nadir.ground.workspace import project_root, work_folder
from nadir.stages.evaluate import evaluate_model, write_evaluation
from nadir.stages.runner import run
from nadir.tracking.registry.evaluations import PICTURES, TABLE, evaluation_folder


def work(folder: Path, plan_of: Path, md5: str) -> None:
    """Evaluate and keep it.

    Args:
        folder: The checkpoint to draw.
        plan_of: The checkpoint whose plan is followed.
        md5: DVC's hash of the one that is drawn.
    """
    params = read_section("evaluate", EvaluateParams)
    evaluation, _ = evaluate_model(folder, params, plan_of=plan_of)
    protocol_id = evaluation.plan.protocol_id
    with atomic_folder(evaluation_folder(project_root(), protocol_id, md5)) as new:
        write_evaluation(evaluation, checkpoint=md5, table=new / TABLE)
        write_samples(new / PICTURES, sample_sheets(evaluation))
    shutil.rmtree(work_folder("evaluating"), ignore_errors=True)
    emit("result", stage="redraw", protocol_id=protocol_id)


def main() -> None:
    """Entry point."""
    folder, plan_of, md5 = sys.argv[1:]
    run("redraw", lambda: work(Path(folder), Path(plan_of), md5))


if __name__ == "__main__":
    main()
