"""The miniature project these tests run in."""

from tests.mini.project import project, trained

__all__ = ["project", "trained"]
