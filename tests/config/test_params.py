"""params.yaml: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ruamel.yaml.representer import RoundTripRepresenter

from nadir.config.edit import read_params, set_values
from nadir.config.reader import read_section, read_yaml
from nadir.config.schema import params_schema
from nadir.config.train import TrainParams
from nadir.ground.errors import NadirError


@pytest.fixture
def params_file(tmp_path: Path, params_text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(params_text, encoding="utf-8")
    return path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def line_of(path: Path, text: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.mark.parametrize("name", ["params.yaml", "presets/tiny.yaml", "presets/sdxl.yaml"])
def test_every_shipped_parameter_file_is_valid(root: Path, name: str) -> None:
    read_params(root / name)


def test_the_tiny_preset_equals_the_default(root: Path) -> None:
    assert read_params(root / "params.yaml") == read_params(root / "presets/tiny.yaml")


def test_the_committed_schema_is_the_models_own(root: Path) -> None:
    committed = json.loads((root / "schemas/params.schema.json").read_text(encoding="utf-8"))
    assert committed == params_schema(), "run `make schema`"


def test_every_key_of_the_schema_says_what_it_means() -> None:
    for name, model in params_schema()["$defs"].items():
        for key, field in model["properties"].items():
            assert field.get("description"), f"{name}.{key}"


def test_the_file_names_its_schema_for_editors(params_text: str) -> None:
    assert params_text.startswith("# yaml-language-server: $schema=schemas/params.schema.json\n")


def test_all_faults_are_told_at_once_with_line_and_remedy(params_file: Path) -> None:
    edit(params_file, "prediction: v", "prediction: vv")
    edit(params_file, "  weight_decay:", "  weight_decai:")
    edit(params_file, "workers: 0", "workers: -1")
    edit(params_file, "  max_gradient_norm: 1.0", "  max_gradient_norm: '1.0'")
    with pytest.raises(NadirError) as caught:
        read_params(params_file)
    text = str(caught.value)
    line = line_of(params_file, "prediction: vv")
    assert f"params.yaml:{line} noise.prediction - 'vv' is none of v, epsilon, x0" in text
    assert "did you mean v?" in text
    line = line_of(params_file, "weight_decai")
    assert (
        f"params.yaml:{line} train.weight_decai - unknown key; did you mean weight_decay?" in text
    )
    assert "train.weight_decay - missing" in text
    assert "compute.workers - input should be greater than or equal to 0 (got -1)" in text
    assert "train.max_gradient_norm - input should be a valid number" in text
    assert "nadir params schema" in text


ADAPTER = (
    "{kind: dora, rank: 2, alpha: 2.0, patterns: {}, convolutions: false, text_encoders: false, "
    "from: null}"
)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["noise.prediction=epsilon"], "zero_terminal_snr=true with prediction=epsilon"),
        (["train.steps=5"], "warmup_steps must be less than steps"),
        (["train.gradient_accumulation=5"], "multiple of gradient_accumulation"),
        (["evaluate.seeds=[1,1]"], "seeds must not repeat an entry"),
        (["evaluate.decision_cfg=2.0"], "decision_cfg must be one of evaluate.cfg_scales"),
        (["bucket.step_px=24"], "must be a multiple of step_px"),
        (["bucket.min_side_px=96"], "no bucket fits"),
        (["bucket.sizes=[[64,64],[48,48]]"], "must not repeat an aspect ratio"),
        (["train.batch_multiple=5"], "batch_size must be a multiple of batch_multiple"),
        (["train.batch_multiple=1", "compute.processes=2"], "multiple of compute.processes x"),
        (["tag_statistics.tail_share=0.5"], "together exceed 1"),
        (["noise.beta_end=0.0001"], "beta_end must be greater"),
        (["compute.processes=3"], "multiple of compute.processes"),
        (["train.preview_prompts=[]"], "preview_every needs at least one"),
        (
            ["train.compile=blocks", f"train.adapter={ADAPTER}"],
            "compile blocks goes with adapters of kind lora and oft alone",
        ),
        (
            ["train.validation.every=0", "train.stop_on=[rare_tags]"],
            "rare_tags need validation.every above 0",
        ),
        (
            ["train.preview_every=0", "train.stop_on=[extreme_pixels]"],
            "extreme_pixels needs preview_every",
        ),
        (["evaluate.steps=30", "noise.timesteps=20"], "evaluate.steps - must not be more"),
        (
            ["train.batch_size=15", "train.gradient_accumulation=2", "train.warmup_steps=5000"],
            "gradient_accumulation; warmup_steps must be less",
        ),
    ],
)
def test_impossible_combinations_are_refused_and_change_nothing(
    params_file: Path, assignments: list[str], message: str
) -> None:
    before = params_file.read_bytes()
    with pytest.raises(NadirError, match=message):
        set_values(assignments, params_file)
    assert params_file.read_bytes() == before


def test_epsilon_without_zero_terminal_snr_is_a_valid_ablation(params_file: Path) -> None:
    set_values(["noise.prediction=epsilon", "noise.zero_terminal_snr=false"], params_file)
    assert read_params(params_file).noise.prediction == "epsilon"


def test_setting_values_keeps_comments_and_reports_the_change(params_file: Path) -> None:
    changes = set_values(["train.steps=3000", "ingest.source='/my images'"], params_file)
    steps, source = changes
    assert steps.startswith("train.steps: ")
    assert steps.endswith(" -> 3000")
    assert source == "ingest.source: data/sample -> /my images"
    text = params_file.read_text(encoding="utf-8")
    assert "# folder of images with tags beside them" in text
    assert read_params(params_file).train.steps == 3000


def test_what_is_written_here_leaves_others_yaml_as_it_was(params_file: Path) -> None:
    """A representer's rules are its class's: DVC wrote `dvc.lock` with other nulls afterwards."""
    set_values(["train.steps=3000"], params_file)
    rule = RoundTripRepresenter.yaml_representers[type(None)]
    assert rule is RoundTripRepresenter.represent_none


def test_setting_a_value_changes_its_own_line_alone(params_file: Path) -> None:
    before = params_file.read_text(encoding="utf-8").splitlines()
    set_values(["base_model.tiny.unet_channels=[8, 16]", "compute.workers=1"], params_file)
    after = params_file.read_text(encoding="utf-8").splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert [new.strip() for _, new in changed] == ["unet_channels: [8, 16]", "workers: 1"]


def test_setting_a_value_to_what_it_is_changes_no_byte(params_file: Path) -> None:
    before = params_file.read_bytes()
    assert set_values(["noise.prediction=v"], params_file) == []
    assert params_file.read_bytes() == before


def test_an_unknown_key_or_a_malformed_assignment_is_named(params_file: Path) -> None:
    with pytest.raises(NadirError, match=r"no parameter `train\.stepz`"):
        set_values(["train.stepz=1"], params_file)
    with pytest.raises(NadirError, match=r"no parameter `nothing\.at\.all`"):
        set_values(["nothing.at.all=1"], params_file)
    with pytest.raises(NadirError, match="`steps` is not an assignment"):
        set_values(["steps"], params_file)
    for value in ("[0.9", "@x"):
        with pytest.raises(NadirError, match="is not valid YAML"):
            set_values([f"train.preview_prompts={value}"], params_file)


def test_wrong_keys_are_told_together_with_what_was_meant_and_its_line(params_file: Path) -> None:
    before = params_file.read_bytes()
    train = read_params(params_file).train
    lines = f"  steps: {train.steps}", f"  learning_rate: {train.learning_rate}"
    with pytest.raises(NadirError) as caught:
        set_values(
            ["train.stepz=1", "learning_rate=1e-4", "steps", "train.seed=3", "x=[1"], params_file
        )
    text = str(caught.value)
    assert "4 faults, and nothing was changed" in text
    steps, rate = (line_of(params_file, line) for line in lines)
    assert f"params.yaml:{steps}: no parameter `train.stepz`; did you mean train.steps?" in text
    assert (
        f"params.yaml:{rate}: no parameter `learning_rate`; did you mean train.learning_rate?"
        in text
    )
    assert "`steps` is not an assignment" in text
    assert "no parameter `x`" in text
    assert params_file.read_bytes() == before


def test_faults_between_sections_have_a_line_and_are_told_beside_others(params_file: Path) -> None:
    edit(params_file, "  processes: 1", "  processes: 3")
    edit(params_file, "  weight_decay:", "  weight_decai:")
    edit(params_file, "  timesteps: 1000", "  timesteps: 20")
    with pytest.raises(NadirError) as caught:
        read_params(params_file)
    text = str(caught.value)
    assert "weight_decai - unknown key" in text
    line = line_of(params_file, "  steps: 25")
    assert f"params.yaml:{line} evaluate.steps - must not be more than noise.timesteps" in text
    assert "compute.processes x" not in text, "train has a fault of its own"
    edit(params_file, "  weight_decai:", "  weight_decay:")
    with pytest.raises(NadirError, match="2 faults") as caught:
        read_params(params_file)
    line = line_of(params_file, "  batch_size: 16")
    assert f"params.yaml:{line} train.batch_size - must be a multiple of" in str(caught.value)


def test_what_yaml_takes_for_a_date_is_text(params_file: Path) -> None:
    set_values(["base_model.revision=2024-01-01"], params_file)
    assert read_params(params_file).base_model.revision == "2024-01-01"


def test_a_stage_reads_its_own_section_though_another_is_wrong(params_file: Path) -> None:
    edit(params_file, "prediction: v", "prediction: vv")
    assert read_section("train", TrainParams, params_file).steps > 0


def test_a_missing_file_section_or_broken_yaml_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NadirError, match="no such parameter file"):
        read_yaml(tmp_path / "params.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("train:\n  steps: [1\n", encoding="utf-8")
    with pytest.raises(NadirError, match=r"broken\.yaml:3:1.*not valid YAML"):
        read_yaml(broken)
    for garbled in (b"a: caf\xe9\n", b"a: \x07\n"):
        broken.write_bytes(garbled)
        with pytest.raises(NadirError, match=r"broken\.yaml.*not readable as YAML in UTF-8"):
            read_yaml(broken)
    broken.write_text("noise: {}\n", encoding="utf-8")
    with pytest.raises(NadirError, match="section `train` is missing"):
        read_section("train", TrainParams, broken)
    broken.write_text("just text\n", encoding="utf-8")
    with pytest.raises(NadirError, match="holds no sections"):
        read_yaml(broken)


def test_a_file_is_parsed_once_and_again_when_its_text_changes(params_file: Path) -> None:
    assert read_yaml(params_file) is read_yaml(params_file)
    assert read_section("train", TrainParams, params_file).steps == 1700
    times = params_file.stat()
    edit(params_file, "  steps: 1700", "  steps: 1800")  # of the same size
    os.utime(params_file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert read_section("train", TrainParams, params_file).steps == 1800


def test_an_edit_that_is_refused_changes_nothing_that_was_read_before(params_file: Path) -> None:
    before = read_section("train", TrainParams, params_file)
    with pytest.raises(NadirError):
        set_values(["train.steps=12", "train.seed=none"], params_file)
    assert read_section("train", TrainParams, params_file) == before


def test_faults_in_a_section_of_several_forms_have_their_line_and_remedy(params_file: Path) -> None:
    edit(params_file, "distribution: uniform, min: 0.0", "distribution: uniform, mim: 0.0")
    edit(params_file, "kind: mse", "kind: hubert")
    edit(params_file, "{name: cosine, final: 0.0}", "{final: 0.0}")
    with pytest.raises(NadirError) as caught:
        read_params(params_file)
    text = str(caught.value)
    line = line_of(params_file, "mim: 0.0")
    assert f"params.yaml:{line} train.timesteps.mim - unknown key; did you mean min?" in text
    assert "train.timesteps.min - missing" in text
    line = line_of(params_file, "kind: hubert")
    assert f"params.yaml:{line} train.loss - 'hubert' is none of mse, huber, smooth_l1" in text
    assert "train.learning_rate_schedule - 'name' is missing" in text


def test_a_setting_that_the_chosen_form_does_not_use_is_refused(params_file: Path) -> None:
    for key, value in (
        ("train.timesteps", "{distribution: uniform, min: 0, max: 1, shift: null, mean: 0}"),
        ("train.loss", "{kind: mse, delta: 0.1}"),
        ("train.learning_rate_schedule", "{name: constant, final: 0.1}"),
    ):
        with pytest.raises(NadirError, match="unknown key"):
            set_values([f"{key}={value}"], params_file)
