"""The main job from end to end, through Prefect, DVC, accelerate and MLflow, in miniature.

The tests of this module tell one story and run in order: each starts where the last one ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from tests.support.searching import MARK, SECRET, holders, live_texts, orders_in
from tests.system.conftest import NADIR, Project

from nadir.config.edit import set_values

pytestmark = pytest.mark.story


AS_JSON = {"NADIR_LOG": "json", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"}
STAGES = [
    "ingest", "validate", "tag_statistics", "bucket", "base_model", "encode",
    "latent_statistics", "decoder", "train", "evaluate",
]  # fmt: skip


def client(project: Project) -> MlflowClient:
    uri = f"sqlite:///{project.folder}/work/mlflow/mlflow.db"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def all_runs(project: Project) -> list[Run]:
    api = client(project)
    ids = [experiment.experiment_id for experiment in api.search_experiments()]
    return list(api.search_runs(ids))


@dataclass
class First:
    """What the first run left, for the way back to it: its training's run and its description."""

    run_id: str = ""
    description: bytes = b""


@pytest.fixture(scope="module")
def first() -> First:
    return First()


def executed(project: Project) -> set[str]:
    return {name for name, state in project.states().items() if state == "executed"}


def test_a_folder_of_pictures_becomes_a_registered_champion(project: Project, first: First) -> None:
    numbers = project.folder / "work/metrics"
    numbers.mkdir(parents=True)
    text = project.nadir("run", NADIR_METRICS=str(numbers))
    left = "".join(file.read_text() for file in numbers.iterdir())
    for shown in ("nadir_pipeline_stage_seconds", "nadir_training_loss", 'status="finished"'):
        assert shown in left
    assert executed(project) == set(STAGES)
    status = project.status()
    assert status["model"]["name"] == "nadir"
    assert status["model"]["version"] == 1
    assert "champion" in status["model"]["aliases"]
    assert status["images"]["used"] >= 50
    assert sum(status["images"]["quarantined"].values()) >= 3
    assert set(status["metrics"]) == {"3.5", "4.5"}
    assert (project.folder / status["report"]).stat().st_size > 10_000
    assert (project.folder / "dvc.lock").stat().st_size > 1_000
    for word in ("champion", "evaluation.html", "nadir servers"):
        assert word in text
    first.run_id = run_id(project)
    first.description = (project.folder / "models/checkpoint/nadir.json").read_bytes()


def test_the_runs_are_nested_and_carry_their_lineage(project: Project) -> None:
    runs = {run.info.run_id: run for run in all_runs(project)}
    children = [r for r in runs.values() if "mlflow.parentRunId" in r.data.tags]
    assert len(runs) == 2
    assert len(children) == 1
    (training,) = children
    assert runs[training.data.tags["mlflow.parentRunId"]].info.status == "FINISHED"
    assert training.info.status == "FINISHED"
    assert training.info.run_id == run_id(project)
    assert training.data.params
    assert any(name.startswith("cfg_4.5") for name in training.data.metrics)
    assert training.inputs.dataset_inputs
    version = client(project).get_model_version("nadir", "1")
    for key in ("git.commit", "dvc.stage_fingerprint", "params.sha256", "data.md5", "out.md5"):
        assert version.tags[key]
        assert version.tags[key] == training.data.tags[key]


def test_no_store_keeps_a_secret_or_obeys_a_text_from_the_pictures(project: Project) -> None:
    assert holders(project.folder, SECRET) == []
    assert {name for name in holders(project.folder, MARK) if name.startswith("data/")} >= {
        "data/listing.parquet", "data/manifest.parquet", "data/tags.parquet",
    }, "the hostile pictures took part"  # fmt: skip
    assert orders_in(project.folder / "work") == []
    assert orders_in(project.folder / "reports") == []
    assert live_texts(project.folder) == []


def run_id(project: Project) -> str:
    return json.loads((project.folder / "models/run.json").read_text(encoding="utf-8"))["run_id"]


def test_a_second_run_executes_ingest_alone_and_registers_nothing(project: Project) -> None:
    runs_before = len(all_runs(project))
    lock = (project.folder / "dvc.lock").read_bytes()
    project.nadir("run")
    assert executed(project) == {"ingest"}
    assert len(all_runs(project)) == runs_before
    assert project.status()["model"]["version"] == 1
    assert (project.folder / "dvc.lock").read_bytes() == lock
    done = project.run("dvc", "status", "--json")
    assert set(json.loads(done.stdout)) == {"ingest"}


def test_a_fine_tuned_decoder_is_published_without_training_again(project: Project) -> None:
    folder = project.folder / "models/checkpoint"
    weights = [f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")]
    before = [(folder / name).read_bytes() for name in weights]
    on = ["decoder.steps=2", "decoder.crop_px=32", "decoder.measured_images=2"]
    set_values(on, project.folder / "params.yaml")
    done = project.run("dvc", "repro", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finished before; publishing that result again" in done.stdout
    for stage in ("encode", "latent_statistics"):
        assert f"Running stage '{stage}'" not in done.stdout
    after = [(folder / name).read_bytes() for name in weights]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False]
    facts = json.loads((project.folder / "models/decoder/decoder.json").read_text("utf-8"))
    assert facts["heldout"]["blockiness_before"] != facts["heldout"]["blockiness_after"]
    project.git("checkout", "params.yaml")
    assert project.run("dvc", "repro", "train").returncode == 0
    assert [(folder / name).read_bytes() for name in weights] == before


def test_a_changed_learning_rate_trains_again(project: Project) -> None:
    first = run_id(project)
    _is_all_objects(project.nadir("run", "--set", "train.learning_rate=0.0005", **AS_JSON))
    assert executed(project) == {"ingest", "train", "evaluate"}
    assert project.status()["model"]["version"] == 2
    assert project.status()["model"]["aliases"] == ["challenger"]
    assert run_id(project) != first


def _is_all_objects(told: str) -> None:
    """Each line of a run is JSON, the trainer's with its step, Prefect's with its logger."""
    lines = [json.loads(line) for line in told.splitlines()]
    assert len({line["run"] for line in lines}) == 1
    steps = {line["step"] for line in lines if "step" in line and line["stage"] == "train"}
    assert max(steps) == 12
    own = [line for line in lines if line.get("logger", "").startswith("prefect.")]
    assert len({line["flow_run"] for line in own}) == 1
    assert {line.get("stage") for line in own} >= {"ingest", "train", "evaluate", "register"}


def add_one_picture(project: Project, folder: Path) -> str:
    """Draw pictures from another seed and put one good one, with its tags, into `folder`.

    Returns:
        Its SHA-256.
    """
    project.nadir("sample-data", "extra", "--images", "50", "--seed", "77")
    for image in sorted((project.folder / "extra").rglob("*.*")):
        tags = image.with_suffix(".txt")
        if image.suffix != ".txt" and image.stat().st_size > 2_000 and tags.is_file():
            shutil.copy2(image, folder / f"zz_new{image.suffix}")
            shutil.copy2(tags, folder / "zz_new.txt")
            break
    shutil.rmtree(project.folder / "extra")
    (added,) = folder.glob(f"zz_new{image.suffix}")
    return hashlib.sha256(added.read_bytes()).hexdigest()


def test_an_added_picture_is_all_that_is_encoded_and_a_removed_one_is_in_no_later_version(
    project: Project,
) -> None:
    before, second = link(project, "latents"), run_id(project)
    manifest = pq.read_table(project.folder / "data/manifest.parquet").to_pylist()
    image = next(row for row in manifest if row["split"] == "train")
    other = project.folder / "other"
    shutil.copytree(project.folder / "pictures", other)
    added = add_one_picture(project, other)
    assert "removed (" in project.nadir("data", "remove", f"pictures/{image['path']}")
    text = project.nadir("run", "--data", str(other), "--set", "train.learning_rate=0.004")
    assert "1 encoded" in text, "one is added, and nothing is encoded again for one that is removed"
    assert run_id(project) != second
    newest = project.status()["model"]["version"]
    assert newest == 3
    assert link(project, "latents")["latents"] == before["latents"] + 1 - 1
    assert link(project, "manifest")["images"] == len(manifest) + 1 - 1
    kept = pq.read_table(project.folder / "data/manifest.parquet").to_pylist()
    hashes, present = {row["sha256"] for row in manifest}, {row["sha256"] for row in kept}
    assert hashes - present == {image["sha256"]}
    assert present - hashes == {added}
    uses = lineage(project, "--image", image["sha256"])
    assert [version["version"] for version in uses["without"]] == [newest]
    assert [version["version"] for version in uses["versions"]] == [*range(1, newest)]


def test_the_return_of_data_and_learning_rate_restores_without_training(
    project: Project, first: First
) -> None:
    lock = project.folder / "dvc.lock"
    third, runs_before = lock.read_bytes(), len(all_runs(project))
    assert run_id(project) != first.run_id
    project.git("checkout", "removed_images.txt")
    project.nadir("run", "--data", str(project.folder / "pictures"))
    assert executed(project) == {"ingest"}
    assert project.states()["train"] == "restored"
    assert run_id(project) == first.run_id
    assert project.status()["model"]["version"] == 1
    assert len(all_runs(project)) == runs_before
    assert (project.folder / "models/checkpoint/nadir.json").read_bytes() == first.description

    # There and back without a run.
    present = lock.read_bytes()
    for content, version in ((third, 3), (present, 1)):
        lock.write_bytes(content)
        assert project.run("dvc", "checkout").returncode == 0
        assert project.status()["model"]["version"] == version


def link(project: Project, name: str) -> dict[str, Any]:
    """What `nadir lineage` says of the present version's latents or manifest."""
    version = str(project.status()["model"]["version"])
    return lineage(project, version)["links"][name]  # type: ignore[no-any-return]


def lineage(project: Project, *what: str) -> dict[str, Any]:
    done = project.run(*NADIR, "lineage", *what, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_a_version_is_rebuilt_from_its_commit_without_running_anything(project: Project) -> None:
    newest = str(max(int(v.version) for v in client(project).search_model_versions("")))
    for version in ("champion", newest):
        text = project.nadir("rebuild", version, "--check")
        assert "DVC finds all of it and would run no stage but the listing" in text
    assert project.run("git", "worktree", "list").stdout.count("\n") == 1


def test_the_registered_champion_draws(project: Project) -> None:
    text = project.nadir(
        "generate", "1girl, red_hair, black_background", "--seed", "1", "--steps", "3",
        "--output", "drawn.png",
    )  # fmt: skip
    assert "drawn.png" in text
    assert (project.folder / "drawn.png").read_bytes()[:4] == b"\x89PNG"


def test_another_program_draws_with_the_champion_through_mlflow(project: Project) -> None:
    program = """
import base64, mlflow
mlflow.set_tracking_uri("sqlite:///work/mlflow/mlflow.db")
model = mlflow.pyfunc.load_model("models:/nadir@champion")
(png,) = model.predict([{"prompt": "1girl", "seed": 1, "steps": 3}])
print(base64.b64decode(png)[:4])
"""
    done = project.run(sys.executable, "-c", program)
    assert done.stdout.endswith("b'\\x89PNG'\n"), done.stderr


def test_dvc_alone_does_the_same_and_sees_nothing_to_do(project: Project) -> None:
    done = project.run("dvc", "repro")
    assert done.returncode == 0, done.stderr
    assert "Running stage 'ingest'" in done.stdout
    assert done.stdout.count("Running stage") == 1
    assert "3.5" in project.run("dvc", "metrics", "show").stdout


def test_an_ablation_as_a_dvc_experiment_is_compared_and_drawn(project: Project) -> None:
    ablation = {"train.steps": 4, "noise.prediction": "epsilon", "noise.zero_terminal_snr": "false"}
    values = [word for key, value in ablation.items() for word in ("-S", f"{key}={value}")]
    done = project.run("dvc", "exp", "run", "--name", "ablation", *values)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = project.run("dvc", "exp", "show", "--csv", "--no-pager").stdout
    (row,) = [line for line in shown.splitlines() if line.startswith("ablation,")]
    assert ",epsilon," in row
    plots = project.run("dvc", "plots", "show", "--out", "plots")
    assert plots.returncode == 0, plots.stdout + plots.stderr
    page = (project.folder / "plots/index.html").read_text(encoding="utf-8")
    for title in ("Training loss", "Brightness error by CFG scale", "Images per bucket"):
        assert title in page
    shutil.rmtree(project.folder / "plots")
    project.git("checkout", "params.yaml")


def test_a_broken_stage_fails_the_pipeline_and_leaves_a_failed_run(project: Project) -> None:
    module = project.folder / "src/nadir/stages/bucket.py"
    whole = module.read_text(encoding="utf-8")
    module.write_text(whole + "\nraise RuntimeError('broken on purpose')\n", encoding="utf-8")
    text = project.nadir("run", fails=True)
    assert "bucket" in text
    assert project.states()["bucket"] == "failed"
    failed = [run for run in all_runs(project) if run.info.status == "FAILED"]
    assert [run.data.tags["nadir.failed_stage"] for run in failed] == ["bucket"]
    module.write_text(whole, encoding="utf-8")


def test_after_an_ablation_outputs_deleted_by_hand_come_back_and_a_mended_stage_is_as_before(
    project: Project,
) -> None:
    shutil.rmtree(project.folder / "models/checkpoint")
    (project.folder / "data/manifest.parquet").unlink()
    project.nadir("run")
    assert (project.folder / "models/checkpoint/model_index.json").is_file()
    assert (project.folder / "data/manifest.parquet").is_file()
    assert executed(project) == {"ingest"}
    assert project.states()["train"] == "restored"
    assert project.status()["model"]["version"] == 1


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Inside the block `folder` is a disk of 64 KiB."""
    disk = ["mount", "-t", "tmpfs", "-o", "size=64k", "nadir-test", str(folder)]
    try:
        done = subprocess.run(disk, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"only root may mount a small disk ({done.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_clear_error_that_loses_nothing(project: Project) -> None:
    with full_disk(project.folder / "work/latents"):
        text = project.nadir("run", "--set", "encode.store=fp16", fails=True)
    assert "no disk space left" in text
    assert text.count("fix:") == 1
    assert "Traceback" not in text
    assert project.states()["encode"] == "failed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "no such folder"),
        (["--set", "train.stepz=3"], "no parameter `train.stepz`"),
        (["--set", "noise.prediction=vv"], "did you mean v?"),
        (["--set", "train.steps=7", "--until", "trian"], "did you mean train"),
    ],
)
def test_a_wrong_command_is_one_clear_error_and_changes_nothing(
    project: Project, arguments: list[str], message: str
) -> None:
    before = (project.folder / "params.yaml").read_bytes()
    text = project.nadir("run", *arguments, fails=True)
    assert message in text
    assert "Traceback" not in text
    assert (project.folder / "params.yaml").read_bytes() == before


def test_an_empty_folder_and_one_without_a_readable_image_stop_with_a_reason(
    project: Project,
) -> None:
    empty = project.folder / "empty"
    empty.mkdir()
    text = project.nadir("run", "--data", str(empty), fails=True)
    assert "no image" in text
    assert "Traceback" not in text
    (empty / "a.png").write_bytes(b"no picture at all")
    (empty / "a.txt").write_text("1girl", encoding="utf-8")
    text = project.nadir("run", "--data", str(empty), fails=True)
    assert "validate" in text
    assert "at least one image is usable" in text
    assert "Traceback" not in text


def test_touching_a_file_runs_nothing_after_validate(project: Project) -> None:
    next((project.folder / "pictures").rglob("*.png")).touch()
    # And back from the full disk and from the empty folder.
    pictures = str(project.folder / "pictures")
    project.nadir("run", "--set", "encode.store=fp32", "--data", pictures)
    assert {"ingest"} <= executed(project) <= {"ingest", "validate"}
    assert project.status()["model"]["version"] == 1
