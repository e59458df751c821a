"""The miniature project, and a shell in which remedies are run."""

from tests.mini.project import project, trained

__all__ = ["project", "trained"]
