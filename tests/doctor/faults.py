"""A real fault for each check that can be produced in a workspace, and how it is undone."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.mini.project import MiniProject

    from nadir.doctor.finding import State

Variables = dict[str, str]
LONG_AGO = 3600
OTHER_DISK = f"/dev/shm/nadir-test-{os.getpid()}"


@dataclass(frozen=True)
class Fault:
    """One way in which a check fails.

    Attributes:
        produce: Makes the fault; returns variables for the shell.
        state: What the check then says.
        told: Part of its text.
        remedy: `run` when the printed command is run and heals it; else why it is not.
        sound: Makes the project one in which the check has nothing to say.
    """

    produce: Callable[[MiniProject], Variables]
    state: State
    told: str
    remedy: str = "run"
    sound: Callable[[MiniProject], object] = lambda _project: None


def other_lock(project: MiniProject) -> Variables:
    (project.root / "requirements.lock").write_text("pillow==1.0\nno-such-package==2.0\n")
    return {}


def other_code(project: MiniProject) -> Variables:
    (project.root / "src/nadir").mkdir(parents=True)
    return {}


def no_commit(project: MiniProject) -> Variables:
    subprocess.run(["rm", "-r", str(project.root / ".git")], check=True)
    return {"GIT_AUTHOR_NAME": "T", "GIT_AUTHOR_EMAIL": "t@x", "GIT_COMMITTER_NAME": "T",
            "GIT_COMMITTER_EMAIL": "t@x"}  # fmt: skip


def typing_error(project: MiniProject) -> Variables:
    project.set("learning_rate:", "learning_rat:")
    return {}


def broken_yaml(project: MiniProject) -> Variables:
    (project.root / "dvc.yaml").write_text("stages: [")
    return {}


def broken_dvc(project: MiniProject) -> Variables:
    (project.root / ".dvc/config").write_text("[core\nremote")
    return {}


def committed_key(project: MiniProject) -> Variables:
    project.dvc("remote", "add", "--default", "s3", "s3://bucket")
    project.dvc("remote", "modify", "s3", "secret_access_key", "PLANTED-secret-key")
    project.git("commit", "-qam", "A remote")
    return {}


def committed_env(project: MiniProject) -> Variables:
    (project.root / ".env").write_text("POSTGRES_PASSWORD=PLANTED\n")
    project.git("add", "--force", ".env")
    return {}


def cuda_wanted(project: MiniProject) -> Variables:
    project.set("device: auto", "device: cuda")
    return {}


def distant_cache(project: MiniProject) -> Variables:
    project.dvc("cache", "dir", "--local", OTHER_DISK)
    return {}


def hard_links(project: MiniProject) -> None:
    project.dvc("config", "cache.type", "reflink,hardlink,copy")


def only_copies(project: MiniProject) -> Variables:
    project.dvc("config", "--local", "cache.type", "reflink,copy")
    return {}


def readable_secret(project: MiniProject) -> Variables:
    path = project.root / ".env"
    path.write_text("POSTGRES_PASSWORD=x\n")
    path.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IROTH)
    return {}


def from_the_future(project: MiniProject) -> Variables:
    then = time.time() + LONG_AGO
    os.utime(project.root / "params.yaml", (then, then))
    return {}


def shadowing_file(project: MiniProject) -> Variables:
    (project.root / "helpers").mkdir()
    (project.root / "helpers/mlflow.py").write_text("")
    return {"PYTHONPATH": "helpers"}


def telemetry(_project: MiniProject) -> Variables:
    # MLflow takes no other word than `true`, so this one does not switch it off.
    return {"DO_NOT_TRACK": "1"}


def newer_mlflow(project: MiniProject) -> Variables:
    _set_revision(project.root / "work/mlflow/mlflow.db", "0123456789ab")
    return {}


def damaged_mlflow(project: MiniProject) -> Variables:
    (project.root / "work/mlflow/mlflow.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    return {}


def newer_prefect(project: MiniProject) -> Variables:
    path = project.root / "work/prefect/prefect.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('0123456789ab')")
    return {}


def _set_revision(path: Path, revision: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", [revision])


def server_away(variable: str) -> Callable[[MiniProject], Variables]:
    return lambda _project: {variable: f"http://me:PLANTED-pw@127.0.0.1:{free_port()}"}


def remote_gone(project: MiniProject) -> Variables:
    (project.root / "not-a-folder").write_text("")
    project.dvc("remote", "add", "--default", "lost", "not-a-folder/remote")
    return {}


# Tests that run in the background are deaf to SIGINT, and so would be what they start.
HEARS_AND_WAITS = (
    "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler); time.sleep(600)"
)


def orphaned_stage(project: MiniProject) -> Variables:
    """A process with a stage's name, whose parent ends at once, as DVC does upon SIGTERM."""
    code = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
    stage = [sys.executable, "-c", HEARS_AND_WAITS, "nadir.stages.train"]
    subprocess.run([sys.executable, "-c", code, *stage], cwd=project.root, check=True)
    time.sleep(0.5)
    return {}


def killed_pipeline(project: MiniProject) -> Variables:
    """The holder of the workspace is killed; a child that inherited the lock runs on."""
    code = (
        "import os, subprocess, sys, pathlib\n"
        "from nadir.pipeline.processes.lock import workspace_lock\n"
        "with workspace_lock(pathlib.Path('work/pipeline/lock')) as handle:\n"
        f"    stage = [sys.executable, '-c', {HEARS_AND_WAITS!r}]\n"
        "    subprocess.Popen(stage, pass_fds=[handle], start_new_session=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project.root, check=False)
    assert done.returncode == -signal.SIGKILL
    return {}


def cut_off_list(project: MiniProject) -> Variables:
    (project.root / ".dvc/tmp").mkdir(exist_ok=True)
    (project.root / ".dvc/tmp/rwlock").write_text("")
    return {}


def killed_git(project: MiniProject) -> Variables:
    _aged(project.root / ".git/index.lock")
    return {}


def killed_writer(project: MiniProject) -> Variables:
    """Killed between the first byte and the move into place."""
    code = (
        "import os, pathlib\n"
        "from nadir.ground.files import atomic_path\n"
        "with atomic_path(pathlib.Path('data/table.parquet')) as path:\n"
        "    path.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=project.root, check=False)
    (left,) = (project.root / "data").glob(".*.tmp")
    _aged(left)
    return {}


def unsent_records(project: MiniProject) -> Variables:
    from nadir.tracking.runs.journal import Journal, journals

    journal = Journal(journals(project.root) / "0123456789abcdef")
    journal.add({"kind": "tag", "key": "a", "value": "b"})
    journal.close(remove=False)
    return {}


def _aged(path: Path) -> None:
    path.touch()
    then = time.time() - LONG_AGO
    os.utime(path, (then, then))


def variables(**given: str) -> Callable[[MiniProject], Variables]:
    """Only variables of the shell."""
    return lambda _project: given


FAULTS: dict[str, list[Fault]] = {
    "packages": [Fault(other_lock, "failed", "no-such-package missing", "needs an index")],
    "code": [Fault(other_code, "failed", "not this clone's", "needs an index")],
    "git": [Fault(no_commit, "failed", "not a git repository")],
    "parameters": [Fault(typing_error, "failed", "did you mean learning_rate", "it is a typo")],
    "stages": [Fault(broken_yaml, "failed", "not valid YAML")],
    "dvc": [Fault(broken_dvc, "failed", "cannot read its configuration")],
    "secrets-in-git": [
        Fault(committed_key, "warning", "secret_access_key = ***"),
        Fault(committed_env, "failed", ".env"),
    ],
    "gpu": [Fault(cuda_wanted, "failed", "no NVIDIA driver")],
    "cache-links": [
        Fault(distant_cache, "warning", "is on another file system", sound=hard_links),
        Fault(only_copies, "warning", "(cache.type: reflink, copy)", sound=hard_links),
    ],
    "secret-files": [Fault(readable_secret, "warning", ".env")],
    "file-times": [Fault(from_the_future, "warning", "params.yaml was changed in the future",
                         "`date` is for a person to read")],
    "launcher": [Fault(variables(WORLD_SIZE="2", RANK="0", OMPI_COMM_WORLD_SIZE="2"), "warning",
                       "OMPI_COMM_WORLD_SIZE, RANK, WORLD_SIZE")],
    "threads": [Fault(variables(OMP_NUM_THREADS="3"), "warning", "OMP_NUM_THREADS=3",
                      "keeping it is a remedy as well")],
    "arithmetic": [Fault(variables(NVIDIA_TF32_OVERRIDE="1"), "warning", "NVIDIA_TF32_OVERRIDE")],
    "python-path": [
        Fault(shadowing_file, "failed", "takes the place of the installed mlflow"),
        Fault(variables(PYTHONPATH="/nowhere"), "warning", "PYTHONPATH=/nowhere"),
    ],
    "python-switches": [Fault(variables(PYTHONINSPECT="1"), "warning", "PYTHONINSPECT")],
    "chart-backend": [Fault(variables(MPLBACKEND="module://matplotlib_inline.backend_inline"),
                            "warning", "exists in its notebook only")],
    "tracking": [
        Fault(variables(NADIR_TRACKING="none"), "warning", "leave no run"),
        Fault(variables(MLFLOW_RUN_ID="abc"), "warning", "MLFLOW_RUN_ID"),
    ],
    "git-variables": [Fault(variables(GIT_INDEX_FILE="/tmp/i"), "warning", "GIT_INDEX_FILE")],
    "scratch-folder": [Fault(variables(TMPDIR="/nowhere"), "failed", "/nowhere")],
    "proxies": [
        Fault(variables(http_proxy="http://127.0.0.1:9"), "warning", "without this machine"),
        Fault(variables(all_proxy="socks5://h:1"), "warning", "SOCKS", "needs an index"),
    ],
    "telemetry": [Fault(telemetry, "warning", "bare `prefect` and `mlflow`")],
    "mlflow": [
        Fault(newer_mlflow, "failed", "a newer mlflow made it", "needs a backup or newer code"),
        Fault(damaged_mlflow, "failed", "no sound database", "needs a backup"),
        Fault(server_away("MLFLOW_TRACKING_URI"), "failed", "does not answer"),
    ],
    "prefect": [
        Fault(newer_prefect, "failed", "a newer prefect made it", "needs newer code"),
        Fault(server_away("PREFECT_API_URL"), "failed", "does not answer"),
    ],
    "dvc-remote": [Fault(remote_gone, "failed", "remote lost", "needs a store")],
    "workspace-lock": [Fault(killed_pipeline, "warning", "the pipeline was killed")],
    "orphans": [Fault(orphaned_stage, "warning", "what started them is gone")],
    "dvc-locks": [Fault(cut_off_list, "warning", "cut off")],
    "git-lock": [Fault(killed_git, "warning", "index.lock")],
    "half-written": [Fault(killed_writer, "warning", "data/.table.parquet.")],
    "mlflow-records": [Fault(unsent_records, "warning", "1 have records", "takes a whole run")],
}  # fmt: skip
"""By check; those that need another shell, user or machine are in `test_shells.py`."""
