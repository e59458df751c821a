"""Checks whose fault is a shell's, a user's or a machine's; each test has the name of its check."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.doctor.asking import REPOSITORY, command_of, found, program
from tests.mini.project import MiniProject

from nadir.pipeline.processes.process import quiet_environment

OTHER_USER = 54321
SOURCE = str(REPOSITORY / "src")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs another user, which root may become")


def test_python(project: MiniProject) -> None:
    pyenv = Path("~/.pyenv/versions").expanduser().glob("3.1[0-9]*/bin/python3")
    named = [*map(shutil.which, ("python3.12", "python3.13", "python3.10")), *map(str, pyenv)]
    python = next((path for path in named if path and is_another(path)), None)
    if python is None:
        pytest.skip("no other Python on this machine")
    checks = program(
        project, "python", "machine", "inodes", python=python, variables={"PYTHONPATH": SOURCE}
    )
    assert checks["python"]["state"] == "failed"
    assert "the lock file is for 3.11" in checks["python"]["told"]
    # An interpreter without a single package still tells what it lacks.
    assert "a library is missing" in checks["memory"]["told"]
    assert checks["memory"]["fix"].startswith("`make install`")
    assert checks["inodes"]["state"] == "ok"


def is_another(python: str) -> bool:
    """Whether it starts, and is not the version that the lock file is for."""
    done = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and not done.stdout.startswith("Python 3.11.")


@AS_ROOT
def test_user_name(project: MiniProject) -> None:
    variables = dict.fromkeys(("USER", "LOGNAME", "LNAME", "USERNAME"), "")
    assert os.environ.get("HOME")
    checks = as_other_user(project, "user-name", variables)
    assert checks == ["failed", f"user {OTHER_USER} has no name", "set USER to any name"]
    assert as_other_user(project, "user-name", {"USER": "nadir"})[0] == "ok"


@AS_ROOT
def test_writable(project: MiniProject) -> None:
    project.root.parent.chmod(0o755)
    state, told, fix = as_other_user(project, "writable", {}, whole=True)
    assert state == "failed"
    assert told.startswith(f"user {OTHER_USER} cannot write ")
    subprocess.run(["bash", "-c", command_of(fix)], cwd=project.root, check=True)
    assert as_other_user(project, "writable", {})[0] == "ok"


@AS_ROOT
def test_owner(project: MiniProject) -> None:
    for name in ("data", "models", "reports", "work"):
        (project.root / name).mkdir(exist_ok=True)
    command = ["chown", "-R", str(OTHER_USER), "data", "models", "reports", "work"]
    subprocess.run(command, cwd=project.root, check=True)
    (project.root / "reports/old.html").write_text("")
    state, told, fix = as_other_user(project, "owner", {}, whole=True)
    assert state == "warning"
    assert told.startswith("another user owns reports/old.html")
    subprocess.run(["bash", "-c", command_of(fix)], cwd=project.root, check=True)
    assert as_other_user(project, "owner", {})[0] == "ok"


def as_other_user(
    project: MiniProject, name: str, variables: dict[str, str], *, whole: bool = False
) -> list[str]:
    """State, text and remedy of one check, asked by a user without a name; cut, unless `whole`."""
    reach(project.root)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from nadir.doctor.checks import CHECKS\nfrom nadir.doctor.examination import examine\n"
        "from nadir.doctor.scene import Scene\nimport nadir.pipeline.processes.process, psutil\n"
        f"os.setgid({OTHER_USER}); os.setuid({OTHER_USER})\n"
        f"check = next(c for c in CHECKS if c.name == {name!r})\n"
        "_, seen = examine(Scene(Path.cwd()), [check])[0]\n"
        "print(seen.state, seen.told, seen.fix, sep='\\0')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.root,
        env={**quiet_environment(project.root), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    state, told, fix = done.stdout.rstrip("\n").split("\0")
    if whole or not fix:
        return [state, told, fix]
    return [state, told.partition(" on ")[0].rpartition(": ")[2], fix.partition(",")[0]]


def reach(folder: Path) -> None:
    """Let every user come as far as a folder."""
    for above in (folder, *folder.parents):
        if above.stat().st_uid == os.getuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)


def test_address_space(project: MiniProject) -> None:
    seen = program(project, "address-space", shell="ulimit -S -v 4000000")["address-space"]
    assert (seen["state"], "3.8 GiB" in seen["told"]) == ("failed", True)
    shell = f"ulimit -S -v 4000000\n{command_of(seen['fix'])}"
    assert program(project, "address-space", shell=shell)["address-space"]["state"] == "ok"


def test_open_files(project: MiniProject) -> None:
    seen = program(project, "open-files", shell="ulimit -S -n 200")["open-files"]
    assert (seen["state"], seen["told"]) == ("failed", "only 200 open files are allowed")
    shell = f"ulimit -S -n 200\n{command_of(seen['fix'])}"
    assert program(project, "open-files", shell=shell)["open-files"]["state"] == "ok"


def test_memory(project: MiniProject) -> None:
    """In a control group with little memory, as containers have one."""
    tree = Path("/sys/fs/cgroup")
    first, limit = tree / "memory", "memory.limit_in_bytes"
    folder = (first if first.is_dir() else tree) / f"nadir-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no control group can be made here")
    try:
        path = folder / (limit if first.is_dir() else "memory.max")
        if not path.is_file():
            pytest.skip("no control group with a memory limit can be made here")
        path.write_text(str(3 << 29))
        seen = program(project, "memory", shell=f"echo $$ > {folder}/cgroup.procs")["memory"]
    finally:
        folder.rmdir()
    assert (seen["state"], "of 1.5 GiB" in seen["told"]) == ("warning", True)


def small_disk(project: MiniProject, options: str) -> dict[str, dict[str, str]]:
    """The checks of a project on a file system of its own, which ends with the process."""
    target = project.root.with_name("small")
    target.mkdir()
    command = f"mount -t tmpfs -o {options} none {target} && cp -a {project.root}/. {target}"
    if subprocess.run(["unshare", "-m", "sh", "-c", command], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    inside = f'{command}; cd {target}; exec "$@"'
    shell = f"exec unshare -m bash -c '{inside}' bash \"$@\""
    return program(project, "disk", shell=shell)


def test_space(project: MiniProject) -> None:
    checks = small_disk(project, "size=64m")
    assert (checks["space"]["state"], checks["inodes"]["state"]) == ("failed", "ok")
    assert "nadir clean" in checks["space"]["fix"]


def test_inodes(project: MiniProject) -> None:
    checks = small_disk(project, "size=20g,nr_inodes=700")
    assert (checks["space"]["state"], checks["inodes"]["state"]) == ("ok", "failed")


def test_disk_clock(project: MiniProject, tmp_path: Path) -> None:
    """A process whose clock is an hour behind: the kernel stamps files by the true one."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "clock.c").write_text(
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <time.h>\n"
        "int clock_gettime(clockid_t c, struct timespec *t) {\n"
        "  static int (*real)(clockid_t, struct timespec *);\n"
        '  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");\n'
        "  int r = real(c, t); if (c == CLOCK_REALTIME) t->tv_sec -= 3600; return r; }\n"
    )
    library = tmp_path / "clock.so"
    build = [compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "clock.c"), "-ldl"]
    subprocess.run(build, check=True)
    seen = program(project, "disk-clock", variables={"LD_PRELOAD": str(library)})["disk-clock"]
    assert (seen["state"], "+3600 s" in seen["told"]) == ("failed", True)
    assert program(project, "disk-clock")["disk-clock"]["state"] == "ok"


class LateServer(http.server.BaseHTTPRequestHandler):
    """Its clock is ten minutes behind."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"3.17.2")

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) - self.server.behind_s)

    def log_message(self, *arguments: object) -> None:
        pass


def test_server_clocks(project: MiniProject) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), LateServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        environment = {**quiet_environment(project.root), "MLFLOW_TRACKING_URI": uri}
        server.behind_s = 600
        seen = found("server-clocks", project.root, environment)
        server.behind_s = 0
        healed = found("server-clocks", project.root, environment)
        server.shutdown()
    assert (seen.state, "MLflow's clock is -60" in seen.told) == ("failed", True)
    assert healed.state == "ok"
