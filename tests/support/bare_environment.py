"""A Python that has only what a version's requirements name: no project, no DVC, nothing else."""

from __future__ import annotations

import os
import re
import sys
from importlib import metadata
from pathlib import Path

_MAIN = """#!{python}
import sys
from uvicorn.main import main
sys.exit(main())
"""


class BareEnvironment:
    """The distributions of a requirements file, linked into a folder of their own.

    Args:
        folder: Where to make it.
        requirements: The file.
    """

    def __init__(self, folder: Path, requirements: Path) -> None:
        self.python = getattr(sys, "_base_executable", sys.executable)
        self.packages = folder / "packages"
        self.home = folder / "home"
        self.elsewhere = folder / "elsewhere"
        for made in (self.packages, self.home, self.elsewhere, folder / "bin"):
            made.mkdir(parents=True)
        for line in requirements.read_text(encoding="utf-8").splitlines():
            name, _, version = line.partition("==")
            assert version, line
            self._link(metadata.distribution(name))
        program = folder / "bin" / "uvicorn"
        program.write_text(_MAIN.format(python=self.python))
        program.chmod(0o755)

    def environment(self, uri: str) -> dict[str, str]:
        """Variables of a process that knows this and MLflow's address, and nothing else."""
        return {
            "PATH": f"{self.packages.parent / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "HOME": str(self.home),
            "PYTHONPATH": str(self.packages),
            "PYTHONNOUSERSITE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }

    def _link(self, distribution: metadata.Distribution) -> None:
        place = Path(str(distribution.locate_file("")))
        for file in distribution.files or ():
            top = file.parts[0]
            if re.fullmatch(r"\.\.|__pycache__|bin", top):
                continue
            link = self.packages / top
            if not link.exists() and (place / top).exists():
                link.symlink_to(place / top)
