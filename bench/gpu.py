"""Training steps of the real SDXL on one GPU: images a second, peak memory, share of its ceiling.

Random weights in SDXL's shapes, random latents and text states; nothing is read, so it runs on a
machine without network and data. The ceiling is what a large matrix product reaches there in the
same precision. Work is counted for a forward and a backward pass; what checkpointing computes again
and what the optimizer does is not counted, so their cost shows. Beside ours run two loops of
`bench.gpu_peers` with the same batches.

    python -m bench.gpu                       # all cases; each in a process of its own
    python -m bench.gpu --only compiled       # those whose names hold a text; printed, not kept
    python -m bench.gpu --tiny --device cpu   # the same code on a small network, to try it

It needs torch, diffusers, transformers, accelerate, peft, torchao, pydantic, ruamel.yaml, duckdb,
pyarrow and pandas, with what these need; no tracker, no scheduler and no S3 client.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import torch
from bench.gpu_peers import PEERS
from bench.results import ROOT, table, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GIB = 1 << 30
SIDE_PX = 1024
BATCHES = (1, 4, 16)
PEER_CASES = {
    "diffusers' script": ("diffusers' script", True),
    "diffusers' script, no checkpointing": ("diffusers' script", False),
    "a bare compiled loop": ("a bare compiled loop", True),
    "a bare compiled loop, no checkpointing": ("a bare compiled loop", False),
}
"""Loops of `bench.gpu_peers`, and whether they compute activations again."""
_BF16 = {"weights": "bf16", "step_in_backward": True, "gradient_checkpointing": True}
_LORA = {
    "kind": "lora",
    "rank": 16,
    "alpha": 16.0,
    "patterns": {},
    "convolutions": False,
    "text_encoders": False,
    "from": None,
}
_COMPILED = {"compile": "blocks", "gradient_checkpointing": False}
CASES: dict[str, dict[str, Any]] = {
    "full fp32, AdamW": {"gradient_checkpointing": True},
    "full fp32, AdamW, channels last": {
        "gradient_checkpointing": True,
        "memory_format": "channels_last",
    },
    "full fp32, AdamW, compiled": _COMPILED | {"gradient_checkpointing": True},
    "full fp32, AdamW, no checkpointing": {"gradient_checkpointing": False},
    "full fp32, AdamW, no checkpointing, compiled": _COMPILED,
    "full bf16, AdamW, in backward": _BF16,
    "full bf16, AdamW 8 bit, in backward": _BF16 | {"optimizer": "adamw_8bit"},
    "full bf16, AdamW 4 bit, in backward": _BF16 | {"optimizer": "adamw_4bit"},
    "full bf16, Adafactor, in backward": _BF16 | {"optimizer": "adafactor"},
    "full bf16, AdamW, no checkpointing, compiled": _BF16 | _COMPILED,
    "LoRA 16": {"adapter": _LORA, "gradient_checkpointing": True},
    "LoRA 16, no checkpointing": {"adapter": _LORA, "gradient_checkpointing": False},
    "LoRA 16, no checkpointing, compiled": {"adapter": _LORA} | _COMPILED,
}
"""Settings of `train` by what they are called."""
_WARM_UP, _MEASURED = 3, 8
# Many processors compute bfloat16 slowly.
_TINY = {"block_out_channels": [8, 16, 16], "transformer_layers_per_block": [1, 1, 1]}
_TINY |= {"attention_head_dim": [1, 2, 2], "cross_attention_dim": 16, "norm_num_groups": 4}


def measure(case: str, sizes: list[int], *, tiny: bool, device: str) -> Iterator[dict[str, Any]]:
    """Steps of one case at one batch size after the other, ascending.

    Yields:
        `images`, with `images_per_s`, `peak_bytes` and `flops_per_image`, or `out_of_memory`, after
        which nothing more is tried.
    """
    images = sizes[0]
    try:
        unet, step, flops = _made(case, tiny=tiny, device=device)
        for images in sizes:
            batch = _batch(unet, images, tiny=tiny, device=device)
            found = {"images": images, "flops_per_image": flops}
            yield found | _measure(step, batch, images, device)
    except torch.OutOfMemoryError:
        yield {"images": images, "out_of_memory": True}


def _made(case: str, *, tiny: bool, device: str) -> tuple[Any, Callable[[Any], None], float]:
    """The network, what makes a step with a batch, and the operations of an image."""
    if case in PEER_CASES:
        kind, checkpointing = PEER_CASES[case]
        params, _ = _settings({}, device)
        unet = _unet(params, tiny=tiny, device=device)
        flops = _forward_flops(unet, tiny=tiny) * 3
        return unet, PEERS[kind](unet, checkpointing=checkpointing, device=device).step, flops
    from nadir.training.main import make_accelerator
    from nadir.training.stop_request import StopRequest
    from nadir.training.train_step import TrainStep

    params, noise = _settings(CASES[case], device)
    unet = _unet(params, tiny=tiny, device=device)
    flops = _forward_flops(unet, tiny=tiny) * (2 if params.adapter else 3)
    step = TrainStep(
        _trainable(unet, params),
        params,
        _objective(params, noise, device),
        make_accelerator(params),
    )
    number = itertools.count()
    return unet, lambda batch: step.step(next(number), batch, StopRequest()), flops


def _measure(
    step: Callable[[Any], Any], batch: Any, images: int, device: str
) -> dict[str, float | int]:
    for _ in range(_WARM_UP):
        step(batch)
    _wait(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    for _ in range(_MEASURED):
        step(batch)
    _wait(device)
    seconds = time.perf_counter() - begin
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    return {"images_per_s": images * _MEASURED / seconds, "peak_bytes": peak}


def _settings(changes: dict[str, Any], device: str) -> tuple[Any, Any]:
    from nadir.config.noise import NoiseParams
    from nadir.config.reader import read_section
    from nadir.config.train import TrainParams

    os.environ["ACCELERATE_USE_CPU"] = str(device == "cpu")
    preset = ROOT / "presets" / "sdxl.yaml"
    known = read_section("train", TrainParams, preset).model_dump(by_alias=True)
    fixed = {"batch_size": 1, "gradient_accumulation": 1, "optimizer": "adamw"}
    fixed |= {"ema_decay": 0.0, "preview_every": 0, "mixed_precision": "bf16"}
    params = TrainParams.model_validate(known | fixed | changes)
    return params, read_section("noise", NoiseParams, preset)


def _unet(params: Any, *, tiny: bool, device: str) -> Any:
    """Random weights made where they are used: the host need not hold them."""
    from diffusers import UNet2DConditionModel

    from nadir.model.sdxl.networks import sdxl_configs
    from nadir.training.train_step import PRECISIONS

    precision = params.mixed_precision if params.adapter else params.weights
    config = sdxl_configs()["unet"] | (_TINY if tiny else {})
    torch.manual_seed(0)
    torch.set_default_dtype(PRECISIONS[precision])
    with torch.device(device):
        unet = UNet2DConditionModel.from_config(config)
    torch.set_default_dtype(torch.float32)
    return unet


def _trainable(unet: Any, params: Any) -> Any:
    from nadir.training.trainable.adapters.adapted import Adapters
    from nadir.training.trainable.full_unet import FullUNet

    return Adapters(unet, params, params.adapter) if params.adapter else FullUNet(unet)


def _objective(params: Any, noise: Any, device: str) -> Any:
    from nadir.diffusion.schedule import NoiseSchedule
    from nadir.training.losses.objective import Objective

    schedule = NoiseSchedule.from_settings(**noise.model_dump())
    return Objective(
        schedule, noise, params.loss_weight, loss=params.loss, device=torch.device(device)
    )


def _batch(unet: Any, images: int, *, tiny: bool, device: str) -> Any:
    from nadir.training.losses.objective import Batch

    side = (64 if tiny else SIDE_PX) // 8
    draw = torch.Generator(device).manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=device, generator=draw)

    config = unet.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    return Batch(
        latents_BCHW=noise(images, 4, side, side),
        noise_BCHW=noise(images, 4, side, side),
        timesteps_B=torch.linspace(0, 999, images).long(),
        hidden_BSD=noise(images, 231, config.cross_attention_dim).bfloat16(),
        pooled_BP=noise(images, pooled).bfloat16(),
        time_ids_B6=torch.full((images, 6), float(SIDE_PX), device=device),
        weights_B=torch.ones(images, device=device),
    )


def tiny_unet() -> Any:
    """The small network of `--tiny`, on the CPU."""
    return _unet(_settings({}, "cpu")[0], tiny=True, device="cpu")


def tiny_batch(unet: Any) -> Any:
    """Two images for it."""
    return _batch(unet, 2, tiny=True, device="cpu")


def _forward_flops(unet: Any, *, tiny: bool) -> float:
    """Operations of a forward pass of one image; a backward pass has twice as many.

    Where the weights are frozen it has as many, since only activations take gradients.
    """
    from torch.utils.flop_counter import FlopCounterMode

    batch = _batch(unet, 1, tiny=tiny, device=str(unet.device))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(
            batch.latents_BCHW.to(unet.dtype),
            batch.timesteps_B.to(unet.device),
            encoder_hidden_states=batch.hidden_BSD.to(unet.dtype),
            added_cond_kwargs={
                "text_embeds": batch.pooled_BP.to(unet.dtype),
                "time_ids": batch.time_ids_B6.to(unet.dtype),
            },
        )
    return float(counter.get_total_flops())


def ceiling(device: str) -> float:
    """Operations a second of a large product of matrices in bfloat16, the best of five."""
    size = 8192 if device == "cuda" else 64
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16)
    best = 0.0
    for _ in range(5):
        _wait(device)
        begin = time.perf_counter()
        for _ in range(20):
            a @ b
        _wait(device)
        best = max(best, 20 * 2 * size**3 / (time.perf_counter() - begin))
    return best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _child(case: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "bench.gpu", "--case", case, "--device", options.device]
    command += ["--images", *map(str, options.images), *(["--tiny"] if options.tiny else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as child:
        for line in child.stdout or ():
            if line.startswith(b"{"):
                yield json.loads(line)
    if child.returncode:
        yield {"images": 0, "failed": child.returncode}


def _cells(found: dict[str, Any], ceiling_flops: float) -> list[str]:
    if "images_per_s" not in found:
        return ["out of memory" if found.get("out_of_memory") else "failed", "-", "-"]
    share = found["images_per_s"] * found["flops_per_image"] / ceiling_flops
    return [
        f"{found['images_per_s']:.2f}",
        f"{found['peak_bytes'] / GIB:.1f}",
        f"{share:.0%}" if share else "-",
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", default="", help="cases whose names hold this")
    parser.add_argument("--case", choices=[*CASES, *PEER_CASES], help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, nargs="+", default=list(BATCHES))
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: no CUDA device here; `--tiny --device cpu` tries the code")
    return options


def main() -> None:
    """Measure all cases; with `--tiny` or `--only` print only."""
    options = _options()
    if options.case:
        sizes = sorted(options.images)
        for found in measure(options.case, sizes, tiny=options.tiny, device=options.device):
            print(json.dumps(found), flush=True)
        return
    most = ceiling(options.device)
    rows = []
    for case in (case for case in [*CASES, *PEER_CASES] if options.only in case):
        for found in _child(case, options):
            rows.append([case, str(found["images"]), *_cells(found, most)])
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    head = ["case", "batch", "images/s", "peak, GiB", "of the ceiling"]
    card = torch.cuda.get_device_name() if options.device == "cuda" else "a processor"
    body = f"On {card}, torch {torch.__version__}, a matrix product in bf16 reaches "
    body += f"{most / 1e12:.0f} TFLOP/s.\n\n{table(head, rows)}"
    if options.tiny or options.only:
        print(body)
    else:
        write("gpu", f"Training SDXL at {SIDE_PX} x {SIDE_PX}", body)


if __name__ == "__main__":
    main()
