"""The reproduction of the paper's claims as a Prefect flow: one task an arm and seed.

prefect deployment run reproduction/weekly
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nadir.ground.logs.setup import begin
from nadir.ground.secrets import mask_logs
from nadir.ground.workspace import project_root
from nadir.pipeline.servers.temporary_server import prefect_environment
from nadir.reproduction.reproduction import Reproduction

# Before Prefect is imported, which reads its settings and announces itself while it loads.
os.environ.update(prefect_environment())

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

if TYPE_CHECKING:
    from nadir.reproduction.arms import Job, Size

mask_logs()
begin()

_SIZE: Size | None = None  # the usual one; tests make it smaller


@flow(name="reproduction", persist_result=False)
def reproduction(claims: list[str] | None = None, seeds: int = 3, budget: str = "2h") -> str:
    """Run every arm that is not kept and write docs/reproduction.md.

    Args:
        claims: Names or numbers of claims; None is all.
        seeds: Trainings of each arm.
        budget: Time that the arms may take, such as `45m` or `2h`.

    Returns:
        Where the page is.
    """
    root = project_root()
    whole = Reproduction.planned(root, claims=claims, seeds=seeds, budget=budget, size=_SIZE)
    with whole.alone():
        for job in whole.jobs:
            run_arm.with_options(name=job.arm.name, task_run_name=job.name)(whole, job)
        page: str = write_results(whole)
    return page


@task(cache_policy=NO_CACHE, persist_result=False)
def run_arm(whole: Reproduction, job: Job) -> bool:
    """One arm with one seed; what is kept of it is not computed again. False: over the budget."""
    logger = get_run_logger()
    return whole.run(job, say=lambda text: logger.info("%s", text))


@task(name="page", task_run_name="page", cache_policy=NO_CACHE, persist_result=False)
def write_results(whole: Reproduction) -> str:
    """The page, which is an artifact of the run as well."""
    from nadir.reproduction.page import write_page

    root = whole.place.root
    page = write_page(whole, root / "docs", command="prefect deployment run reproduction/weekly")
    text = page.read_text(encoding="utf-8")
    create_markdown_artifact(text, key="reproduction", description="The paper's claims")
    return str(page.relative_to(root))
