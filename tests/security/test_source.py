"""No line of this project runs what it reads: by its syntax tree, not by its text."""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "flows", "scripts", "bench")

# Who unpickles: bytes of this very program, between it and the workers it has started.
PICKLES = {
    "src/nadir/compute/worker.py",
    "src/nadir/compute/worker_process.py",
    "src/nadir/compute/process_pool.py",
}
# PyYAML is among them: its plain `load` makes objects. ruamel's never does (tested below).
_UNPICKLERS = {"yaml", "pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
_RUNNERS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a call's function; empty for other forms."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before or '?'}.{node.attr}"
    return ""


def given(call: ast.Call, name: str) -> object:
    """The constant that an argument has; None without it, `...` for one that is computed."""
    value = next((k.value for k in call.keywords if k.arg == name), None)
    if value is None:
        return None
    return value.value if isinstance(value, ast.Constant) else ...


def is_not(call: ast.Call, name: str, *harmless: object) -> bool:
    """Whether an argument is another constant than these, or a computed one."""
    return given(call, name) not in harmless


RULES: dict[str, Callable[[str, ast.Call], bool]] = {
    "runs a text": lambda name, _: name in {*_RUNNERS, "eval", "exec", "compile"},
    "torch.load of pickles": lambda name, call: (
        name == "torch.load" and is_not(call, "weights_only", True)
    ),
    "allow_pickle": lambda _, call: is_not(call, "allow_pickle", None, False),
    "trust_remote_code": lambda _, call: is_not(call, "trust_remote_code", None, False),
    "shell=True": lambda _, call: is_not(call, "shell", None, False),
    "YAML that makes objects": lambda name, call: (
        name.endswith("YAML") and is_not(call, "typ", None, "safe", "rt")
    ),
    "an archive without filter='data'": lambda name, call: (
        name.endswith((".extractall", ".unpack_archive")) and is_not(call, "filter", "data")
    ),
    "a template without autoescape": lambda name, call: (
        name in {"Environment", "jinja2.Environment"} and is_not(call, "autoescape", True)
    ),
    "weights that may be pickles": lambda name, call: (
        name.endswith("Pipeline.from_pretrained") and is_not(call, "use_safetensors", True)
    ),
}


def faults(tree: ast.AST) -> Iterator[str]:
    """What in a file could run what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            yield from (f"imports {m}" for m in modules if m.partition(".")[0] in _UNPICKLERS)
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            yield from (told for told, holds in RULES.items() if holds(name, node))


def found() -> dict[str, set[str]]:
    """Faults by file."""
    files = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    seen = {str(path.relative_to(ROOT)): set(faults(ast.parse(path.read_text()))) for path in files}
    return {path: told for path, told in seen.items() if told}


def test_nothing_runs_what_it_reads() -> None:
    expected = {path: {"imports pickle"} for path in PICKLES}
    assert found() == expected


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from joblib import load", "import torch; torch.load('a')",
        "torch.load('a', weights_only=False)", "np.load('a', allow_pickle=True)",
        "AutoModel.from_pretrained('a', trust_remote_code=True)", "import yaml",
        "subprocess.run('ls', shell=True)", "os.system('ls')", "eval(text)",
        "YAML(typ='unsafe')", "tar.extractall('a')", "jinja2.Environment()",
        "StableDiffusionXLPipeline.from_pretrained('a', use_safetensors=False)",
    ],
)  # fmt: skip
def test_each_of_these_would_be_seen(code: str) -> None:
    assert list(faults(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["torch.load('a', weights_only=True)", "YAML(typ='safe')", "model.eval()",
             "subprocess.run(['ls'])", "np.load('a')", "re.compile('a')"],
)  # fmt: skip
def test_what_is_safe_stays_unseen(code: str) -> None:
    assert not list(faults(ast.parse(code)))


def test_parameters_with_a_tag_of_python_make_no_object(tmp_path: Path) -> None:
    """The one loader that is not "safe" by name, on what unsafe ones run."""
    from ruamel.yaml import YAML

    from nadir.config.reader import read_yaml
    from nadir.ground.errors import NadirError
    from nadir.tracking.lock_file import load_yaml

    mark = tmp_path / "ran"
    text = f'a: !!python/object/apply:os.system ["touch {mark}"]\n'
    (tmp_path / "params.yaml").write_text(text)
    for read in (read_yaml, load_yaml, YAML().load):
        with contextlib.suppress(NadirError):
            read(tmp_path / "params.yaml")
        assert not mark.exists()


def test_a_bomb_of_aliases_ends_at_once(tmp_path: Path) -> None:
    from nadir.config.edit import read_params
    from nadir.ground.errors import NadirError

    lines = ["a0: &a0 [x]"] + [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 2)}]" for i in range(1, 9)
    ]
    (tmp_path / "params.yaml").write_text("\n".join(lines) + "\n")
    with pytest.raises(NadirError, match="unknown key"):
        read_params(tmp_path / "params.yaml")
