"""By which marks other programs know the noise process of an SDXL, and what they make of a file.

The rules are those of the programs' sources in 2026: ComfyUI `comfy/supported_models.py` and
`comfy/model_sampling.py`, SwarmUI `WorkflowGeneratorModelSupport.cs`, reForge's copy of ComfyUI's,
Forge's `huggingface_guess`, A1111 `sd_models_config.py`, InvokeAI `configs/main.py`, diffusers
`single_file_utils.py`. They look at the presence of tensors at the top level, never at what is in
them; A1111 and Forge also at a `.yaml` of the file's name beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

V_MARK, ZERO_MARK = "v_pred", "ztsnr"
_EDM_MARKS = {"edm_mean", "edm_std"}
_EDM_V_MARK = "edm_vpred.sigma_max"
_SPEC = "modelspec.prediction_type"
_SPEC_ALIAS = "prediction_type"  # SwarmUI's own, in the same metadata
_SCALES = (".scale_weight", ".weight_scale")
_V_SCALING, _V_PARAMETERS = ".VScaling", "parameterization: v"
_NOT_READ = "wrong weights"
_BESIDE = "the `.yaml` of its name"
_YAML = "`nadir export --yaml` writes a `.yaml` beside it that says v"
_SCHEDULE = "set its noise schedule for sampling to Zero Terminal SNR"
_FOLDER = "give it the diffusers folder, whose scheduler_config.json says so"


@dataclass(frozen=True)
class Treatment:
    """What one program makes of a file.

    Attributes:
        program: Its name.
        prediction: `v`, `epsilon`, a process that is not SDXL's, or that it takes the weights for
            others than they are.
        zero_terminal: Whether sampling starts at zero SNR.
        mark: What it goes by.
        remedy: What to do there when that is not what the model was trained for.
    """

    program: str
    prediction: str
    zero_terminal: bool
    mark: str
    remedy: str = ""

    def is_right(self, noise: Mapping[str, object]) -> bool:
        """Whether it samples by the process that the section `noise` names."""
        return (self.prediction, self.zero_terminal) == (
            noise["prediction"],
            noise["zero_terminal_snr"],
        )


def file_treatments(
    names: Collection[str], metadata: Mapping[str, str], *, beside: str = ""
) -> list[Treatment]:
    """What each program makes of a single file.

    Args:
        names: Of its tensors.
        metadata: Of its header.
        beside: Text of the `.yaml` of its name that lies beside it.
    """
    comfy = _by_tensors("ComfyUI", names)
    says_v = _V_SCALING in beside
    others = [
        _by_tensors("reForge", names),
        _by_two_tensors(
            "Forge, Forge Neo", names, _SCHEDULE, says_v=says_v or _V_PARAMETERS in beside
        ),
        _by_two_tensors("A1111 (dev)", names, _YAML, says_v=says_v),
        _old_a1111(says_v=says_v),
        *_of_none(),
    ]
    scale = next((end for end in _SCALES if any(name.endswith(end) for name in names)), None)
    if scale:
        others = [_unscaled(found.program, scale) for found in others]
    return [comfy, _swarm(comfy, metadata), *others]


def _of_none() -> list[Treatment]:
    """Programs that look at no mark of a single file."""
    return [
        Treatment("InvokeAI", "epsilon", zero_terminal=False, mark="none is read", remedy=_FOLDER),
        Treatment(
            "diffusers",
            "epsilon",
            zero_terminal=False,
            mark="none is read",
            remedy="load the diffusers folder, or pass its scheduler to `from_single_file`",
        ),
    ]


def folder_treatments(noise: Mapping[str, object]) -> list[Treatment]:
    """What the programs that read diffusers folders make of one; its scheduler says it all.

    Args:
        noise: The section that `scheduler_config.json` amounts to.
    """
    v, zero = str(noise["prediction"]), bool(noise["zero_terminal_snr"])
    return [
        Treatment(program, v, zero_terminal=zero, mark="scheduler_config.json")
        for program in ("diffusers", "InvokeAI")
    ]


def _by_tensors(program: str, names: Collection[str]) -> Treatment:
    """ComfyUI's order, in which the first mark that is there wins."""
    if set(names) >= _EDM_MARKS:
        return Treatment(program, "EDM", zero_terminal=False, mark="tensors edm_mean, edm_std")
    if _EDM_V_MARK in names:
        return Treatment(program, "v of EDM", zero_terminal=False, mark=f"tensor {_EDM_V_MARK}")
    if V_MARK not in names:
        mark = "no tensor v_pred"
        return Treatment(program, "epsilon", zero_terminal=False, mark=mark, remedy=_sampling())
    zero = ZERO_MARK in names
    mark = f"tensors {V_MARK}, {ZERO_MARK}" if zero else f"tensor {V_MARK}"
    return Treatment(program, "v", zero_terminal=zero, mark=mark, remedy=_sampling())


def _by_two_tensors(
    program: str, names: Collection[str], remedy: str, *, says_v: bool
) -> Treatment:
    """Of one that knows the two marks and none of EDM's, and a `.yaml` that says v."""
    marks = [mark for mark in (V_MARK, ZERO_MARK) if mark in names]
    said = f"tensors {', '.join(marks)}" if len(marks) > 1 else f"tensor {''.join(marks)}"
    return Treatment(
        program,
        "v" if V_MARK in names or says_v else "epsilon",
        zero_terminal=ZERO_MARK in names,
        mark=said if marks else _BESIDE if says_v else "no tensor v_pred",
        remedy=remedy,
    )


def _old_a1111(*, says_v: bool) -> Treatment:
    """Of its releases, which look for a `.yaml` and at no tensor."""
    return Treatment(
        "A1111 1.10",
        "v" if says_v else "epsilon",
        zero_terminal=False,
        mark=_BESIDE if says_v else "no `.yaml` of its name",
        remedy=_SCHEDULE if says_v else f"{_YAML}; {_SCHEDULE}; or use its branch `dev`",
    )


def _unscaled(program: str, scale: str) -> Treatment:
    """Of one that knows no scales of 8-bit weights."""
    return Treatment(
        program,
        _NOT_READ,
        zero_terminal=False,
        mark=f"tensors *{scale} are not read",
        remedy="use the model's fp16 file",
    )


def _swarm(comfy: Treatment, metadata: Mapping[str, str]) -> Treatment:
    """SwarmUI puts what ModelSpec says over ComfyUI's own choice, and its zero SNR with it."""
    said = next((metadata[k] for k in (_SPEC, _SPEC_ALIAS) if metadata.get(k, "").strip()), "")
    if not said:
        return Treatment("SwarmUI", comfy.prediction, comfy.zero_terminal, comfy.mark, comfy.remedy)
    prediction = {"v": "v", "v-zsnr": "v", "epsilon": "epsilon"}.get(said, said)
    remedy = "edit the model's metadata there: prediction type v-zsnr"
    return Treatment(
        "SwarmUI",
        prediction,
        zero_terminal="zsnr" in said,
        mark=f"metadata {_SPEC}: {said}",
        remedy=remedy,
    )


def _sampling() -> str:
    return "add the node ModelSamplingDiscrete (v_prediction, zsnr)"
