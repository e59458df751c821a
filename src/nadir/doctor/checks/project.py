"""The files that every command reads."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from nadir.doctor.finding import Check, Finding, failed, ok, warning

if TYPE_CHECKING:
    from nadir.doctor.scene import Scene

_LAST_LINES = 2


def _parameters(scene: Scene) -> Finding:
    from nadir.config.edit import read_params
    from nadir.ground.workspace import PARAMS_FILE

    read_params(scene.root / PARAMS_FILE)
    return ok(f"{PARAMS_FILE} is valid")


def _stages(scene: Scene) -> Finding:
    from nadir.tracking.lock_file import read_lock, stage_definitions

    return ok(f"{len(stage_definitions(scene.root))} stages, {len(read_lock(scene.root))} have run")


def _dvc(scene: Scene) -> Finding:
    """By DVC itself, which reads its configuration for this."""
    if not (scene.root / ".dvc").is_dir():
        return failed("no folder .dvc here: DVC does not know this project", "`dvc init`")
    done = scene.run([sys.executable, "-m", "dvc", "config", "--list"])
    if done.returncode == 0:
        return ok("DVC reads its configuration")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    told = "; ".join(lines[-_LAST_LINES:]) or f"`dvc` ended with status {done.returncode}"
    if "No module named" in told:
        return failed(told, "`make install`")
    return failed(
        f"DVC cannot read its configuration: {told}",
        "`git checkout .dvc/config`; correct or remove .dvc/config.local, which git does not keep",
    )


def _user(_scene: Scene) -> Finding:
    from nadir.pipeline.processes.process import require_user_name

    require_user_name()
    return ok("the user has a name, which DVC needs")


def _secrets(scene: Scene) -> Finding:
    """Passwords in files that git keeps: whoever clones has them."""
    from nadir.ground.secrets import masked

    tracked = scene.run(["git", "ls-files", "-z", "--", ".env", ".dvc/config", "params.yaml"])
    names = [name for name in tracked.stdout.split("\0") if name]
    if ".env" in names:
        return failed(
            "git keeps .env, which holds passwords",
            "`git rm --cached .env`, then change those passwords: they stay in the history",
        )
    for name in names:
        section = ""
        for number, line in enumerate(_lines(scene, name), 1):
            section = line if line.startswith("[") else section
            if masked(line) != line:
                return warning(
                    f"{name}:{number} holds a password or key, and git keeps it: {line.strip()}",
                    _way_out(section, line),
                )
    return ok("no password in the files that git keeps")


def _way_out(section: str, line: str) -> str:
    """The command for one of DVC's remotes, whose sections are `['remote "NAME"']`."""
    remote = re.match(r"\['remote \"([\w.-]+)\"'\]", section)
    key = line.partition("=")[0].strip()
    if remote:
        return (
            f"`dvc remote modify --unset {remote[1]} {key}`; set it again with `dvc remote modify "
            "--local` or by the environment, and change it: it stays in the history"
        )
    return "take it out, name it by the environment, and change it: it stays in the history"


def _lines(scene: Scene, name: str) -> list[str]:
    path = scene.root / name
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


PROJECT = (
    Check("parameters", "project", _parameters),
    Check("stages", "project", _stages),
    Check("dvc", "project", _dvc),
    Check("user-name", "project", _user),
    Check("secrets-in-git", "project", _secrets),
)
