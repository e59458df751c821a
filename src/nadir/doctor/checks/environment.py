"""Variables of the shell that change results, let programs hang, or are meant for others."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.doctor.finding import Check, Finding, failed, ok, warning
from nadir.ground.loopback import LOOPBACK, proxy_variables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nadir.doctor.scene import Scene

_LAUNCHERS = re.compile(
    r"(RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE|GROUP_RANK|NODE_RANK|MASTER_ADDR|MASTER_PORT"
    r"|(TORCHELASTIC|PET|PMI|PMIX|OMPI|MV2|ACCELERATE|FSDP)_\w+)"
)
_ARITHMETIC = ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "MKL_CBWR")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_DYNAMIC")
_GIT = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")
# The words that each program itself takes for "off".
_QUIET = {
    "DO_NOT_TRACK": {"true"},
    "PREFECT_SERVER_ANALYTICS_ENABLED": {"false", "0", "no"},
}


def _set(names: Iterable[str], scene: Scene) -> list[str]:
    return [name for name in names if scene.environment.get(name)]


def _launcher(scene: Scene) -> Finding:
    found = sorted(name for name in scene.environment if _LAUNCHERS.fullmatch(name))
    if not found:
        return ok("nothing of another launcher (torchrun, MPI, SLURM, accelerate)")
    return warning(
        f"another launcher left {', '.join(found)}: torch waits for processes that nobody starts. "
        "Nadir's training does without them, other programs of this shell do not",
        f"`unset {' '.join(found)}`",
    )


def _threads(scene: Scene) -> Finding:
    found = _set(_THREADS, scene)
    if not found:
        return ok(f"as many threads as cores ({os.cpu_count()})")
    told = ", ".join(f"{name}={scene.environment[name]}" for name in found)
    return warning(
        f"{told}: on a CPU another number of threads gives other last bits",
        f"keep it the same within one training, or `unset {' '.join(found)}`",
    )


def _arithmetic(scene: Scene) -> Finding:
    found = _set(_ARITHMETIC, scene)
    if not found:
        return ok("nothing changes how numbers are computed")
    return warning(
        f"{', '.join(found)} set: libraries compute otherwise than `params.yaml` says",
        f"`unset {' '.join(found)}`",
    )


def _python_path(scene: Scene) -> Finding:
    """Folders before the installed packages, where a file may take a library's name."""
    named = scene.environment.get("PYTHONPATH", "")
    if not named:
        return ok("PYTHONPATH is not set")
    own = {path.resolve() for path in (scene.root, scene.root / "src")}
    for folder in (Path(entry or ".") for entry in named.split(os.pathsep)):
        if shadowed := _shadows(scene.root / folder, own):
            return failed(
                f"PYTHONPATH: {folder / shadowed} takes the place of the installed {shadowed}",
                "`unset PYTHONPATH`",
            )
    return warning(
        f"PYTHONPATH={named}: what lies there comes before the installed packages",
        "`unset PYTHONPATH`",
    )


def _shadows(folder: Path, own: set[Path]) -> str:
    """The first installed package whose name a folder takes; empty when there is none."""
    if not folder.is_dir() or folder.resolve() in own:
        return ""
    installed = {name for name in metadata.packages_distributions() if not name.startswith("_")}
    for path in sorted(folder.iterdir()):
        # A folder without it is no package while an installed one has the name.
        package = path.is_dir() and (path / "__init__.py").is_file()
        if (package or path.suffix == ".py") and path.stem in installed | {"nadir"}:
            return path.stem
    return ""


def _python_home(scene: Scene) -> Finding:
    found = _set(("PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT"), scene)
    if not found:
        return ok(f"Python is {sys.executable}")
    return warning(
        f"{', '.join(found)} set: each Python that a stage starts is changed by it",
        f"`unset {' '.join(found)}`",
    )


def _notebook(scene: Scene) -> Finding:
    backend = scene.environment.get("MPLBACKEND", "")
    if not backend.startswith("module://"):
        return ok("no notebook's way of drawing charts")
    return warning(
        f"MPLBACKEND={backend} exists in its notebook only; Nadir's stages do without it, `dvc "
        "repro` of this shell does not",
        "`unset MPLBACKEND`",
    )


def _tracking(scene: Scene) -> Finding:
    if scene.environment.get("NADIR_TRACKING") == "none":
        return warning(
            "NADIR_TRACKING=none: trainings leave no run in MLflow, and no version can name one",
            "`unset NADIR_TRACKING`",
        )
    if scene.environment.get("MLFLOW_RUN_ID"):
        return warning(
            "MLFLOW_RUN_ID names a run that MLflow's own programs would write into",
            "`unset MLFLOW_RUN_ID`",
        )
    return ok("runs are tracked")


def _git(scene: Scene) -> Finding:
    found = _set(_GIT, scene)
    if not found:
        return ok("git takes the repository of the current folder")
    return warning(
        f"{', '.join(found)} set, as for a git hook: DVC and git see another repository",
        f"`unset {' '.join(found)}`",
    )


def _temporary(scene: Scene) -> Finding:
    named = next(iter(_set(("TMPDIR", "TEMP", "TMP"), scene)), "")
    folder = scene.environment.get(named) or tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ok(f"scratch files in {folder}")
    except OSError as error:
        told = f"{named or 'the folder for scratch files'}: {folder}: {error.strerror}"
        return failed(told, f"`unset {named}`" if named else f"as root, `chmod 1777 {folder}`")


def _proxies(scene: Scene) -> Finding:
    found = proxy_variables(dict(scene.environment))
    if not found:
        return ok("no proxy")
    names = ", ".join(sorted(found))
    socks = sorted(name for name, value in found.items() if value.lower().startswith("socks"))
    if socks:
        return warning(
            f"{', '.join(socks)} names a SOCKS proxy, which Prefect's client cannot use",
            f"`pip install 'httpx[socks]'`, or `unset {' '.join(socks)}`",
        )
    listed = (scene.environment.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    direct = {entry.strip() for entry in ",".join(listed).split(",")}
    if "*" not in direct and not set(LOOPBACK[:2]) <= direct:
        return warning(
            f"{names} set without this machine as an exception; Nadir asks loopback directly, "
            "`prefect` and `mlflow` of this shell ask the proxy",
            f"`export no_proxy={','.join(LOOPBACK)} NO_PROXY={','.join(LOOPBACK)}`",
        )
    return ok(f"{names}, and this machine is asked directly")


def _telemetry(scene: Scene) -> Finding:
    """Nadir switches it off for all it starts; this is about other commands of the shell."""
    spoken = [n for n, off in _QUIET.items() if scene.environment.get(n, "").lower() not in off]
    if spoken:
        wanted = " ".join(f"{name}={min(_QUIET[name], key=lambda w: -len(w))}" for name in spoken)
        return warning(
            "`nadir` reports to nobody; bare `prefect` and `mlflow` of this shell do",
            f"`export {wanted}`",
        )
    return ok("off, for `nadir` and for bare `prefect` and `mlflow`")


ENVIRONMENT = (
    Check("launcher", "environment", _launcher),
    Check("threads", "environment", _threads),
    Check("arithmetic", "environment", _arithmetic),
    Check("python-path", "environment", _python_path),
    Check("python-switches", "environment", _python_home),
    Check("chart-backend", "environment", _notebook),
    Check("tracking", "environment", _tracking),
    Check("git-variables", "environment", _git),
    Check("scratch-folder", "environment", _temporary),
    Check("proxies", "environment", _proxies),
    Check("telemetry", "environment", _telemetry),
)
