"""Regional compilation: the U-Net's repeated blocks as graphs, everything else as it is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import UNet2DConditionModel

MAX_GRAPHS = 256
"""Of one training; each is made when a block first meets a shape."""

# Graphs of one shape each. One for all shapes would be fewer, but it may depend on the shape that
# came first, and which of two that fit is used depends on the step before: a resumed training could
# differ. On a GPU, kernels are chosen by rule instead of by the clock, for the same reason.
_HOW: dict[str, Any] = {
    "dynamic": False,
    "fullgraph": True,
    "options": {"deterministic": True},
}
_WHERE = "params.yaml train.compile"
_OFF = "or set train.compile to 'off'"


def compile_blocks(network: UNet2DConditionModel, device: torch.device) -> int:
    """Let every transformer block run as compiled graphs; names of weights stay what they are.

    Args:
        network: Changed in place, after adapters are in it.
        device: That it is going to run on.

    Returns:
        How many blocks there are.

    Raises:
        NadirError: This machine cannot compile, or the network has no such block.
    """
    _require_compiler(device)
    # Beyond it a block would raise, not run slowly without a word.
    torch._dynamo.config.recompile_limit = MAX_GRAPHS  # noqa: SLF001
    torch._dynamo.config.accumulated_recompile_limit = MAX_GRAPHS  # noqa: SLF001
    # A block is the least that gradients are sent for; smaller pieces gain nothing.
    torch._dynamo.config.optimize_ddp = False  # noqa: SLF001
    try:
        network.compile_repeated_blocks(**_HOW)
    except ValueError as error:
        raise NadirError(
            "the U-Net has no transformer block to compile",
            where=_WHERE,
            fix="set train.compile to 'off'",
        ) from error
    return sum(block._compiled_call_impl is not None for block in network.modules())  # noqa: SLF001


@contextlib.contextmanager
def compilation_faults() -> Iterator[None]:
    """Around a step: what goes wrong while a graph is made becomes one clear error.

    Raises:
        NadirError: Too many shapes, or a block that cannot be compiled.
    """
    try:
        yield
    except FailOnRecompileLimitHit as error:
        raise NadirError(
            f"the blocks need more than {MAX_GRAPHS} graphs, one for each kind of block and shape "
            "of batch",
            where=_WHERE,
            fix=f"train in fewer buckets (bucket.max_buckets, bucket.resolutions), {_OFF}",
        ) from error
    except TorchDynamoException as error:
        raise NadirError(
            f"a block could not be compiled: {_first_line(error)}",
            where=_WHERE,
            fix="set train.compile to 'off'",
        ) from error


def uncompiled() -> contextlib.AbstractContextManager[object]:
    """Inside, blocks run without graphs: pictures of other sizes need none of their own."""
    eager: contextlib.AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return eager


def _require_compiler(device: torch.device) -> None:
    """Compile something small.

    Raises:
        NadirError: It does not work.
    """
    try:
        torch.compile(torch.nn.functional.silu, **_HOW)(torch.ones(8, device=device))
    except TorchDynamoException as error:
        needs = "a C++ compiler (on Debian: apt-get install g++ python3-dev)"
        if device.type != "cpu":
            needs = f"triton and a C compiler ({needs})"
        raise NadirError(
            f"torch cannot compile on this machine: {_first_line(error)}",
            where=_WHERE,
            fix=f"install {needs}, {_OFF}",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
