"""A version's card: MLflow's page says what one must know before one promotes or loads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.mini.project import MiniProject
from tests.mini.weights import add_version, cached_weights, judged_better
from tests.support.real_weights import registered

from nadir.pipeline.judging import judge_known
from nadir.tracking.registry.card import describe
from nadir.tracking.registry.versions import Version, resolve_version
from nadir.tracking.store.connection import connect


def described(project: MiniProject, number: int = 1) -> str:
    found = connect(project.root).get_model_version("nadir", str(number))
    return str(found.description or "")


def judged(project: MiniProject) -> Version:
    version = registered(project).version
    judge_known(version, project.root, say=lambda _line: None)
    return version


def test_the_card_begins_with_verdict_loading_and_numbers(project: MiniProject) -> None:
    project.set("licence: null", "licence: openrail++")
    project.dvc("repro")
    version = judged(project)
    text = described(project)
    head = "# nadir, version 1\n\n**Verdict:** absolute checks **promote**; there was no other"
    assert text.startswith(head)
    assert "mlflow models serve -m models:/nadir/1 --env-manager local" in text
    assert "a pointer to weights that DVC keeps" in text
    assert "path=samples%2Fgrid.png" in text
    assert f"/runs/{version.run_id}/artifacts)" in text
    assert f"| weights (md5) | `{version.md5}` |" in text
    assert "| prediction | `v` |" in text
    assert "**Licence:** openrail++" in text
    assert text.index("**Verdict:**") < text.index("mlflow models serve") < text.index("prediction")
    assert len(text) < 5000


def test_it_is_a_file_of_the_version_and_says_the_verdict_beside_the_champion(
    trained: MiniProject,
) -> None:
    trained.set("weights: auto", "weights: copy")
    client = connect(trained.root)
    old = add_version(client, trained.root, weights=cached_weights(trained.root, "old"))
    client.set_registered_model_alias("nadir", "champion", str(old))
    version = registered(trained).version
    judged_better(client, version.version, "reject")
    assert describe(version, trained.root)
    text = described(trained, version.version)
    assert "beside the champion (version 1) **reject**" in text
    assert "It holds its weights and the code that draws" in text
    assert "**Licence:** not stated (`register.licence`)" in text
    source = client.get_model_version("nadir", str(version.version)).source
    folder = Path(source.removeprefix("file://"))
    assert (folder / "model_card.md").read_text(encoding="utf-8") == text
    assert (folder / "evaluation.html").read_text(encoding="utf-8") == "<p>report</p>"
    assert (folder / "samples.png").read_bytes()[:4] == b"\x89PNG"
    assert not describe(version, trained.root), "it says nothing new"


def test_numbers_are_shown_by_guidance_scale(trained: MiniProject) -> None:
    version = registered(trained).version
    client = connect(trained.root)
    for scale, value in (("3.5", 0.25), ("10", 0.5)):
        client.log_metric(version.run_id, f"cfg_{scale}.diversity", value)
    client.log_metric(version.run_id, "x0_mse.mean", 0.125)
    describe(version, trained.root)
    text = described(trained)
    assert "| metric | CFG 3.5 | CFG 4.5 | CFG 10 |" in text
    assert "| x0_mse | 0.125 | 0.125 | 0.125 |" in text
    assert "| diversity | 0.25 |  | 0.5 |" in text


def test_what_a_person_wrote_stays(trained: MiniProject) -> None:
    version = judged(trained)
    client = connect(trained.root)
    before = described(trained)
    client.set_model_version_tag("nadir", "1", "nadir.judged", "reject")
    client.update_model_version("nadir", "1", before + "Nice hands.")
    assert not describe(version, trained.root)
    client.update_model_version("nadir", "1", before.replace("promote", "reject", 1))
    assert not describe(version, trained.root)
    client.update_model_version("nadir", "1", before)
    assert describe(resolve_version("models:/nadir/1", trained.root), trained.root)
    assert "**reject**" in described(trained)


def test_a_secret_in_a_tag_is_not_shown(trained: MiniProject) -> None:
    version = judged(trained)
    client = connect(trained.root)
    place = "https://user:PlantedPW1@host/base@abc"  # a password nobody has
    client.set_model_version_tag("nadir", "1", "base_model.revision", place)
    assert describe(version, trained.root)
    assert "PlantedPW1" not in described(trained)


@pytest.mark.parametrize("word", ["promote", "inconclusive"])
def test_what_the_checks_said_is_in_it(trained: MiniProject, word: str) -> None:
    version = registered(trained).version
    connect(trained.root).set_tag(version.run_id, "nadir.gate", word)
    describe(version, trained.root)
    assert f"absolute checks **{word}**; not judged yet" in described(trained)
