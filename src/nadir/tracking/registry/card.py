"""A version's card: what one must know before one promotes it, loads it or hands it on.

It is the version's description in MLflow, made of what version and run say there, and a file beside
the model. What a person has written in its place stays.
"""

from __future__ import annotations

import re
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.config.gate import GateParams
from nadir.config.reader import read_section
from nadir.ground.files import write_text
from nadir.ground.secrets import masked
from nadir.ground.workspace import PARAMS_FILE
from nadir.tracking.lineage import COPY_TAG, LICENCE_TAG, MODEL_TAG, OUTPUT_TAG
from nadir.tracking.registry.judgements import AGAINST_TAG, ALONE, REASON_TAG, VERDICT_TAG
from nadir.tracking.registry.publish import metric_on_run
from nadir.tracking.store.connection import connect, missing_is_none, store_faults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

    from nadir.tracking.registry.versions import Version

CARD_FILE = "model_card.md"
_LONGEST = 5000  # of a description, in MLflow's databases
_SCALE = re.compile(r"cfg_([\d.]+)\.(.+)")
_SIGNED = re.compile(r"\n\n\*Written by Nadir; what you write in its place stays\. `(\w+)`\*\n$")
# Of the run's parameters, those that say what kind of model it is.
_TOLD = {
    "noise.prediction": "prediction",
    "noise.zero_terminal_snr": "zero terminal SNR",
    "train.steps": "steps",
    "train.batch_size": "pictures a step",
    "train.learning_rate": "learning rate",
    "train.loss_weight": "loss weight",
    "train.adapter": "adapter",
}
_LINEAGE = {
    "base_model.revision": "base model",
    "data.md5": "latents (md5)",
    "git.commit": "code (commit)",
    "dvc.exp_name": "DVC experiment",
    "params.sha256": "parameters (sha256)",
    OUTPUT_TAG: "weights (md5)",
}


@store_faults()
def describe(version: Version, root: Path) -> bool:
    """Write a version's card, if it says something new and no person has written another.

    Args:
        version: The version.
        root: The project's root, whose gate says which numbers matter.

    Returns:
        Whether it was written.

    Raises:
        NadirError: The store refuses.
    """
    client = connect(root)
    now = client.get_model_version(version.name, str(version.version))
    run = None
    with missing_is_none():
        run = client.get_run(now.run_id) if now.run_id else None
    gate = read_section("gate", GateParams, root / PARAMS_FILE)
    text = _signed(masked(card(now, run, [gate.primary.metric, *gate.guards])))
    if text == now.description or not _is_ours(now.description or ""):
        return False
    if now.tags.get(MODEL_TAG):
        _send(client, now.tags[MODEL_TAG], text)
    client.update_model_version(version.name, str(version.version), text)
    return True


def card(version: ModelVersion, run: Run | None, metrics: list[str]) -> str:
    """The card as Markdown, without links that only one server has.

    Args:
        version: With its tags.
        run: The training's; None where it is gone.
        metrics: Names of those to show, the one that decides first.
    """
    tags = version.tags
    parts = [
        f"# {version.name}, version {version.version}",
        _verdict(tags, run),
        _loading(version),
        _numbers(run, metrics),
        _pictures(version, run),
        _table("training", _known(run.data.params if run else {}, _TOLD)),
        _table("made of", _known(tags, _LINEAGE)),
        f"**Licence:** {tags.get(LICENCE_TAG) or 'not stated (`register.licence`)'}",
    ]
    return "\n\n".join(part for part in parts if part)


def _verdict(tags: Mapping[str, str], run: Run | None) -> str:
    gate = run.data.tags.get("nadir.gate", "unknown") if run else "unknown"
    judged, reason = tags.get(VERDICT_TAG, ""), tags.get(REASON_TAG, "")
    if judged in {"", ALONE}:
        beside = "there was no other champion to compare with" if judged else "not judged yet"
    else:
        beside = f"beside the champion (version {tags.get(AGAINST_TAG)}) **{judged}**: {reason}"
    return f"**Verdict:** absolute checks **{gate}**; {beside}"


def _loading(version: ModelVersion) -> str:
    uri = f"models:/{version.name}/{version.version}"
    lines = [
        "```",
        f"mlflow models serve -m {uri} --env-manager local --workers 1",
        f"python -c \"import mlflow; mlflow.pyfunc.load_model('{uri}')\"",
        "```",
    ]
    precision = version.tags.get(COPY_TAG)
    if precision is None:
        what = "It is a pointer to weights that DVC keeps, and loads in a clone of the project:"
    else:
        rounded = ", in fp16" if precision == "fp16" else ""
        what = f"It holds its weights{rounded} and the code that draws; needed are MLflow's address"
        what += " and `requirements.txt` of the model:"
    return "\n".join([what, "", *lines])


def _numbers(run: Run | None, metrics: list[str]) -> str:
    values = run.data.metrics if run else {}
    scales: dict[str, dict[str, float]] = {}
    for key, value in values.items():
        if match := _SCALE.fullmatch(key):
            scales.setdefault(match[1], {})[match[2]] = value
    order = sorted(scales, key=float)
    rows = []
    for name in dict.fromkeys(metric_on_run(metric) for metric in metrics):
        whole = values.get(name, values.get(f"{name}.mean"))
        cells = [scales[scale].get(name, whole) for scale in order] or [whole]
        if any(cell is not None for cell in cells):
            shown = ("" if cell is None else f"{cell:.4g}" for cell in cells)
            rows.append(f"| {name} | {' | '.join(shown)} |")
    heads = [f"CFG {scale}" for scale in order] or ["value"]
    head = [f"| metric | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    return "\n".join([*head, *rows]) if rows else ""


def _pictures(version: ModelVersion, run: Run | None) -> str:
    """Of the run's artifacts, by addresses that MLflow's own pages resolve."""
    if run is None:
        return ""
    place = f"get-artifact?run_uuid={version.run_id}&path="
    page = f"#/experiments/{run.info.experiment_id}/runs/{version.run_id}/artifacts"
    reports = f"[evaluation report, judgement and all pictures]({page})"
    return f"![samples]({place}samples%2Fgrid.png)\n\n{reports}"


def _known(values: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    return {title: values[key] for key, title in names.items() if values.get(key)}


def _table(title: str, rows: Mapping[str, str]) -> str:
    lines = [f"| {name} | `{value[:120]}` |" for name, value in rows.items()]
    return "\n".join([f"| {title} | |", "|---|---|", *lines]) if lines else ""


def _signed(text: str) -> str:
    text = text[: _LONGEST - 200]
    mark = sha256(text.encode()).hexdigest()[:12]
    return f"{text}\n\n*Written by Nadir; what you write in its place stays. `{mark}`*\n"


def _is_ours(text: str) -> bool:
    """Whether a description is empty, or a card as it was written."""
    found = _SIGNED.search(text)
    return not text or (found is not None and _signed(text[: found.start()]) == text)


def _send(client: MlflowClient, model_id: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CARD_FILE
        write_text(path, text)
        client.log_model_artifact(model_id, str(path))
