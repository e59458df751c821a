"""From a version to its pictures and back, by tags, git and DVC's cache and remote."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from tests.mini.weights import add_version, cached, cached_weights
from typer.testing import CliRunner

from nadir.cli import app
from nadir.data.tables import LATENT_INDEX, MANIFEST, write_table
from nadir.ground.files import write_text
from nadir.pipeline.storage.objects import object_path
from nadir.pipeline.storage.remote import send
from nadir.tracking.lineage import lineage_tags
from nadir.tracking.lock_file import read_lock
from nadir.tracking.revision import save_experiment
from nadir.tracking.store.connection import connect

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient
    from tests.mini.project import MiniProject

PICTURE = b"a picture's bytes"
A, B, C = hashlib.sha256(PICTURE).hexdigest(), "b" * 64, "c" * 64


@pytest.fixture
def client(project: MiniProject) -> MlflowClient:
    return connect(project.root)


def table(root: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> str:
    """Put a table into DVC's cache."""
    path = root / "work/table.parquet"
    zero = {pa.string(): "", pa.int32(): 1, pa.float32(): 0.5}
    whole = [{f.name: zero.get(f.type, []) for f in schema if not f.nullable} | row for row in rows]
    write_table(pa.Table.from_pylist(whole, schema), path, schema)
    return cached(root, path.read_bytes())


def trained_on(project: MiniProject, client: MlflowClient, splits: dict[str, str]) -> int:
    """A version trained on these images (split by sha256), as a run leaves it."""
    root = project.root
    rows = [{"sha256": s, "split": split, "path": f"{s[:1]}.png"} for s, split in splits.items()]
    manifest = table(root, rows, MANIFEST)
    index = table(root, [{"sha256": s, "key": s} for s in splits], LATENT_INDEX)
    entry = {"md5": index, "relpath": "index.parquet"}
    latents = cached(root, json.dumps([entry]).encode(), ".dir")
    weights = cached_weights(root, repr(splits))
    layout = cached(root, b'{"format": "folder"}')

    def lines(kind: str, path: str, md5: str) -> str:
        return f"    {kind}:\n    - {{path: {path}, md5: {md5}, size: 7, nfiles: 2}}\n"

    write_text(
        root / "dvc.lock",
        "schema: '2.0'\nstages:\n"
        "  ingest:\n    cmd: x\n    params: {params.yaml: {ingest: {source: /pictures}}}\n"
        + lines("outs", "data/source.json", layout)
        + "  validate:\n    cmd: x\n"
        # Made anew since: the training's own dependency counts.
        + lines("outs", "data/manifest.parquet", "0" * 32)
        + "  encode:\n    cmd: x\n"
        + lines("outs", "data/latents", latents)
        + "  train:\n    cmd: x\n    params: {params.yaml: {train: {steps: 3}}}\n"
        + lines("deps", "data/manifest.parquet", manifest)
        + lines("outs", "models/checkpoint", weights),
    )
    experiment = save_experiment(root, f"train-{len(splits)}")
    assert experiment.commit
    tags = lineage_tags(root, fingerprint="f", experiment=experiment)
    number = add_version(client, root, weights=weights)
    for key, value in tags.items():
        client.set_model_version_tag("nadir", str(number), key, value)
    return number


def told(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["lineage", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def manifest_in_cache(project: MiniProject) -> Path:
    deps = read_lock(project.root)["train"]["deps"]
    return object_path(deps[0]["md5"], project.root / ".dvc/cache/files/md5")


def test_a_version_names_everything_it_was_made_of(
    project: MiniProject, client: MlflowClient
) -> None:
    (project.root / "requirements.lock").write_text("# two\nnumpy==2.0\ntorch==2.9\n")
    trained_on(project, client, {A: "train", B: "train", C: "holdout"})
    first = client.get_model_version("nadir", "1")
    write_text(project.root / "dvc.lock", "schema: '2.0'\nstages: {}\n")  # the workspace went on
    found = json.loads(told("1", "--json"))
    links = found["links"]
    assert list(links)[:2] == ["version", "run"]
    assert (links["version"]["version"], links["version"]["weights"]) == (1, "here")
    assert links["run"]["id"] == first.run_id
    assert links["parameters"]["train"] == {"train": {"steps": 3}}
    assert links["parameters"]["in"] == links["code"]["revision"] == first.tags["dvc.exp_rev"]
    assert links["code"]["commit"] == project.git("rev-parse", "HEAD")
    assert links["environment"]["packages"] == 2
    assert (links["latents"]["latents"], links["latents"]["images"]) == (3, 3)
    assert links["latents"]["md5"] == first.tags["data.md5"]
    manifest = links["manifest"]
    assert (manifest["images"], manifest["train"], manifest["holdout"]) == (3, 2, 1)
    assert (links["source"]["place"], links["source"]["layout"]) == ("/pictures", "folder")
    assert [what.partition(":")[0] for what in found["missing"]] == ["listing"]
    text = told("models:/nadir@challenger")
    assert "<- manifest: md5" in text
    assert "images 3, train 2, holdout 1" in text
    assert "not found: listing: dvc.lock of commit" in text


def test_what_is_nowhere_is_named_and_the_rest_told(
    project: MiniProject, client: MlflowClient
) -> None:
    trained_on(project, client, {A: "train"})
    manifest_in_cache(project).unlink()
    assert "not found: manifest: " in (text := told("1"))
    assert "<- source: place /pictures" in text
    # A clone without the version's commit and with another lock file.
    (project.root / "dvc.lock").unlink()
    client.set_model_version_tag("nadir", "1", "dvc.exp_rev", "1" * 40)
    client.set_model_version_tag("nadir", "1", "nadir.commit_at", "ssh://host/nadir.git")
    text = told("1")
    assert f"dvc.lock of commit {'1' * 12} is not in this clone" in text
    assert "it was sent to ssh://host/nadir.git" in text
    assert "<- latents: md5 " in text, "the tag names them"


def test_an_image_names_the_versions_it_took_part_in(
    project: MiniProject, client: MlflowClient
) -> None:
    for splits in ({A: "train", B: "train"}, {A: "holdout"}, {B: "train"}):
        trained_on(project, client, splits)
    lost = manifest_in_cache(project)
    kept = lost.read_bytes()
    lost.unlink()
    picture = project.root / "work/picture.png"
    picture.write_bytes(PICTURE)
    for image in (A, A.upper(), str(picture)):
        found = json.loads(told("--image", image, "--json"))
        assert found["sha256"] == A
        assert [(v["version"], v["split"], v["path"]) for v in found["versions"]] == [
            (1, "train", f"{A[0]}.png"),
            (2, "holdout", f"{A[0]}.png"),
        ]
        assert [v["version"] for v in found["unknown"]] == [3]
    assert "nadir version 3 (challenger): unknown: manifest: " in told("--image", B)
    # With a remote, the manifest that the cache lacks is fetched.
    lost.write_bytes(kept)
    project.dvc("remote", "add", "--default", "store", str(project.root / "work/remote"))
    send([lost.parent.name + lost.name], project.root)
    lost.unlink()
    found = json.loads(told("--image", B, "--json"))
    assert [v["version"] for v in found["versions"]] == [1, 3]
    assert ([v["version"] for v in found["without"]], found["unknown"]) == ([2], [])


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--image", "abc"], "neither a file nor a sha256"),
        (["1", "--image", A], "exclude each other"),
        (["7"], "the registry has no `models:/nadir/7`"),
    ],
)
def test_what_names_nothing_is_one_clear_error(
    project: MiniProject, arguments: list[str], what: str
) -> None:
    result = CliRunner().invoke(app, ["lineage", *arguments])
    assert what in str(result.exception)
