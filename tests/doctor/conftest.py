"""The miniature project, and a shell in which remedies are run."""

from tests.mini.project import project, trained
from tests.support.prefect_database import prefect_database

__all__ = ["prefect_database", "project", "trained"]
