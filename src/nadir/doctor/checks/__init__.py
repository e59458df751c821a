"""One file for each group of checks. A new check is a function and an entry in its file's list."""

from __future__ import annotations

from nadir.doctor.checks.clocks import CLOCKS
from nadir.doctor.checks.disk import DISK
from nadir.doctor.checks.environment import ENVIRONMENT
from nadir.doctor.checks.leftovers import LEFTOVERS
from nadir.doctor.checks.machine import MACHINE
from nadir.doctor.checks.permissions import PERMISSIONS
from nadir.doctor.checks.project import PROJECT
from nadir.doctor.checks.servers import SERVERS
from nadir.doctor.checks.versions import VERSIONS

CHECKS = (
    *VERSIONS,
    *PROJECT,
    *MACHINE,
    *DISK,
    *PERMISSIONS,
    *CLOCKS,
    *ENVIRONMENT,
    *SERVERS,
    *LEFTOVERS,
)
"""Every check, in the order in which they are shown."""
