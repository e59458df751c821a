"""The miniature project these tests run in."""

from tests.mini.project import project

__all__ = ["project"]
