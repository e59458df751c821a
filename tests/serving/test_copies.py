"""Versions that hold their weights, in the store of one workspace."""

from __future__ import annotations

import base64
import io
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from safetensors import safe_open
from tests.mini.project import MiniProject
from tests.support.real_weights import registered, with_real_weights

from nadir.ground.files import read_json
from nadir.model.load import load_checkpoint_info, load_pipeline
from nadir.pipeline.promotion import promote
from nadir.pipeline.storage.cache import materialise, resolve_model, weights_place
from nadir.pipeline.storage.needed import needed_objects
from nadir.sampling.generate import generate
from nadir.sampling.prompt_encodings import PromptEncodings
from nadir.sampling.prompt_format import PromptFormat
from nadir.serving.weights import PROJECT_VARIABLE
from nadir.tracking.registry.versions import Version, resolve_version
from nadir.tracking.store.connection import connect, tracking_uri
from nadir.tracking.version_files.code import served_code
from nadir.tracking.version_files.held import holds_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKED = {"prompt": "1girl, red_hair", "seed": 3, "steps": 3}


@dataclass(frozen=True)
class Copy:
    """A version that holds its weights, and the project that made it."""

    project: MiniProject
    version: Version
    folder: Path
    """The MLflow model."""


@pytest.fixture(scope="module")
def trained_once(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> MiniProject:
    folder = tmp_path_factory.mktemp("copies")
    return with_real_weights(folder, pytestconfig.rootpath / "params.yaml")


def registered_copy(trained: MiniProject, folder: Path, *, precision: str = "checkpoint") -> Copy:
    project = MiniProject(folder / "project")
    shutil.copytree(trained.root, project.root)
    project.set("weights: auto", "weights: copy")
    project.set("precision: checkpoint", f"precision: {precision}")
    version = registered(project).version
    found = connect(project.root).get_model_version("nadir", str(version.version))
    return Copy(project, version, Path(found.source.removeprefix("file://")))


@pytest.fixture(scope="module")
def copy(trained_once: MiniProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv(PROJECT_VARIABLE, raising=False)
        yield registered_copy(trained_once, tmp_path_factory.mktemp("copy"))


@pytest.fixture
def own(trained_once: MiniProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MiniProject:
    """A project of the test's own that makes copies."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = MiniProject(tmp_path / "own")
    shutil.copytree(trained_once.root, project.root)
    project.set("weights: auto", "weights: copy")
    return project


def drawn_from(folder: Path) -> np.ndarray:
    """What this very code draws with a diffusers folder."""
    pipeline = load_pipeline(folder)
    form = PromptFormat.of(load_checkpoint_info(folder).training)
    (drawing,) = generate(
        pipeline,
        [(str(ASKED["prompt"]), 3)],
        encodings=PromptEncodings.of(pipeline, form),
        cfg_scale=4.5,
        steps=3,
        size=(64, 64),
    )
    return np.asarray(drawing.image)


def drawn_by_mlflow(where: str) -> np.ndarray:
    import mlflow.pyfunc

    (text,) = mlflow.pyfunc.load_model(where).predict([ASKED])
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def without_the_clones_weights(project: MiniProject, place: Path) -> MiniProject:
    """A copy of the project with neither checkpoint nor cache, whose store is the same."""
    shutil.copytree(
        project.root, place, ignore=shutil.ignore_patterns("models", "cache", "work", "data")
    )
    return MiniProject(place)


def test_a_copy_in_a_local_store_draws_anywhere_by_its_own_code(
    copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(copy.project.root))
    drawn = drawn_by_mlflow("models:/nadir@champion")
    assert (drawn == drawn_from(copy.project.root / "models/checkpoint")).all()
    package = served_code().package
    loaded = sys.modules[f"{package}.sampling.generate"]
    assert str(copy.folder) in str(loaded.__file__), "not this process' own"
    assert not any(name.startswith(f"{package}.pipeline") for name in sys.modules)


def test_what_travels_with_a_copy(copy: Copy) -> None:
    there = {path.relative_to(copy.folder).as_posix() for path in copy.folder.rglob("*")}
    assert {"MLmodel", "requirements.txt", "input_example.json", "model_code.py"} <= there
    package = served_code().package
    assert f"code/{package}/serving/served_model.py" in there
    assert not any(f"code/{package}/{room}" in there for room in ("pipeline", "tracking", "stages"))
    lines = (copy.folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {line.partition("==")[0] for line in lines}
    assert all("==" in line for line in lines)
    assert {"torch", "diffusers", "transformers", "mlflow", "safetensors", "pillow"} <= names
    assert not names & {"nadir", "dvc", "prefect", "great-expectations", "duckdb", "torchao"}
    model = (copy.folder / "MLmodel").read_text(encoding="utf-8")
    assert "signature" in model
    assert "cfg_scale" in model
    facts = read_json(copy.folder / "artifacts/weights.json")
    checkpoint = copy.project.root / "models/checkpoint"
    assert set(facts["files"]) == {
        path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*") if path.is_file()
    }
    assert facts["md5"] == copy.version.md5


def test_every_module_that_travels_can_be_imported(copy: Copy) -> None:
    import importlib

    code = served_code()
    assert not any("import nadir\n" in text for text in code.files.values())
    sys.path.insert(0, str(copy.folder / "code"))
    try:
        for name in sorted(code.files):
            if name.endswith(".py") and name != "serving/model_code.py":
                module = f"{code.package}.{name.removesuffix('.py').replace('/', '.')}"
                importlib.import_module(module.removesuffix(".__init__"))
    finally:
        sys.path.remove(str(copy.folder / "code"))


def test_the_registry_is_where_the_weights_are_when_clone_and_cache_lost_them(
    copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(copy.project.root))
    other = without_the_clones_weights(copy.project, tmp_path / "other").root
    version = resolve_version("models:/nadir@champion", other)
    assert weights_place(version.md5, other, held=bool(version.held)) == "registry"
    promote(other, version=version.version)  # which asks whether its weights can be had
    cache = other / ".dvc/cache/files/md5"
    assert needed_objects(other, cache).lost == ()
    folder = resolve_model("models:/nadir@champion", other)
    assert folder.is_relative_to(other / "work/models")
    checkpoint = copy.project.root / "models/checkpoint"
    for path in checkpoint.rglob("*.safetensors"):
        assert (folder / path.relative_to(checkpoint)).read_bytes() == path.read_bytes()
    assert materialise(version.md5, other) == folder, "kept, and read again without the registry"


def test_a_file_that_the_store_lost_or_damaged_is_told_before_anything_is_drawn(
    copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(copy.folder, damaged)
    path = damaged / "artifacts/weights/unet/diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(Exception, match="files of the model are missing or damaged: unet/"):
        drawn_by_mlflow(str(damaged))


def test_a_copy_without_a_file_holds_no_weights(own: MiniProject) -> None:
    version = registered(own).version
    assert holds_weights(version.model_id, own.root)
    folder = Path(connect(own.root).get_model_version("nadir", "1").source.removeprefix("file://"))
    (folder / "artifacts/weights/unet/config.json").unlink()
    assert not holds_weights(version.model_id, own.root)


def test_in_fp16_it_is_half_as_large_and_draws_what_its_rounded_weights_draw(
    trained_once: MiniProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    copy = registered_copy(trained_once, tmp_path, precision="fp16")
    weights, checkpoint = copy.folder / "artifacts/weights", trained_once.root / "models/checkpoint"
    unet, vae = (f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae"))
    assert (weights / vae).read_bytes() == (checkpoint / vae).read_bytes()
    assert (weights / unet).stat().st_size < 0.55 * (checkpoint / unet).stat().st_size
    with safe_open(weights / unet, "pt") as ours, safe_open(checkpoint / unet, "pt") as whole:
        assert set(ours.keys()) == set(whole.keys())
        for name in ours.keys():  # noqa: SIM118 - no dictionary
            assert (ours.get_tensor(name) == whole.get_tensor(name).half()).all()
    assert (drawn_by_mlflow(str(copy.folder)) == drawn_from(weights)).all()
    assert not list((copy.project.root / "work/mlflow").glob("rounded-*"))
    assert holds_weights(copy.version.model_id, copy.project.root)


def test_a_kill_while_files_are_sent_leaves_no_version_and_the_next_attempt_sends_the_rest(
    own: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    send: Any = MlflowClient.log_model_artifact

    def cut_off(client: MlflowClient, model_id: str, path: str, where: str | None = None) -> None:
        if len(sent) == 5:
            raise KeyboardInterrupt
        sent.append(path)
        send(client, model_id, path, where)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MlflowClient, "log_model_artifact", cut_off)
        registered(own)
    client = connect(own.root)
    assert client.search_model_versions("name = 'nadir'") == []

    def counted(client: MlflowClient, model_id: str, path: str, where: str | None = None) -> None:
        assert path not in sent, "it is there already"
        sent.append(path)
        send(client, model_id, path, where)

    monkeypatch.setattr(MlflowClient, "log_model_artifact", counted)
    version = registered(own).version
    checkpoint = own.root / "models/checkpoint"
    weights = [path for path in sent if Path(path).is_relative_to(checkpoint)]
    assert sorted(weights) == sorted(str(path) for path in checkpoint.rglob("*") if path.is_file())
    assert {Path(path).name for path in sent if path not in weights} == {
        "evaluation.html",
        "samples.png",
    }
    assert holds_weights(version.model_id, own.root)
    experiment = client.get_experiment_by_name("nadir").experiment_id
    (model,) = client.search_logged_models([experiment])
    assert str(model.status) == "READY"


def test_after_its_version_was_deleted_a_model_is_sent_anew(own: MiniProject) -> None:
    first = registered(own).version
    client = connect(own.root)
    for alias in first.aliases:
        client.delete_registered_model_alias("nadir", alias)
    client.delete_model_version("nadir", str(first.version))
    second = registered(own).version
    assert second.model_id != first.model_id, "files of the first may be damaged"
    assert holds_weights(second.model_id, own.root)
