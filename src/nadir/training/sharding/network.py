"""A network in shares, one for each process, and the whole of it while somebody looks at it.

PyTorch's `fully_shard` (FSDP2) cuts every parameter along its first axis. A block's parameters are
fetched whole before it runs, and again before its backward pass, and are gone afterwards.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from accelerate import Accelerator

    from nadir.training.trainable import FullUNet

SHARDED_BLOCKS = ("BasicTransformerBlock", "ResnetBlock2D")
"""Classes of the U-Net's repeated blocks, each fetched as one; what is left is fetched once."""


def blocks_of(network: torch.nn.Module) -> Iterable[torch.nn.Module]:
    """The blocks that are fetched one by one."""
    return (m for m in network.modules() if type(m).__name__ in SHARDED_BLOCKS)


def shard(network: torch.nn.Module, accelerator: Accelerator) -> None:
    """Leave this process its share of each parameter, on its device; names stay what they are.

    Args:
        network: Equal in all processes, on the CPU; changed in place. One block after the other
            visits the device, so that the whole never lies there.
        accelerator: Which process this is, of how many.
    """
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for block in list(blocks_of(network)):
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def local_shards(weights: Mapping[str, torch.nn.Parameter]) -> dict[str, torch.nn.Parameter]:
    """This process' shares as plain parameters, which share the memory of the sharded ones."""
    return {name: torch.nn.Parameter(local(weight.detach())) for name, weight in weights.items()}


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This process' share of a sharded tensor."""
    if not isinstance(tensor, DTensor):
        raise TypeError(f"not sharded: {type(tensor).__name__}")
    share: torch.Tensor = tensor.to_local()
    return share


class WholeNetwork:
    """The whole U-Net in the main process, which previews, validation and publishing want.

    Args:
        trainable: Before its network is sharded; of that only the configuration is read.
        accelerator: Which process this is, and the run's precision.
    """

    def __init__(self, trainable: FullUNet, accelerator: Accelerator) -> None:
        self._is_main = accelerator.is_main_process
        with torch.device("meta"):
            hollow: Any = type(trainable.network).from_config(trainable.network.config)
        # So that it computes in the precision that the sharded one computes in.
        accelerator.prepare_model(hollow, device_placement=False, evaluation_mode=True)
        self._network, self._trainable = hollow, trainable

    @contextlib.contextmanager
    def gathered(self) -> Iterator[FullUNet]:
        """Inside the block the main process has all weights; the others have shapes alone.

        All processes have to call it at the same moment.
        """
        found = {}
        for name, weight in self._trainable.network.named_parameters():
            whole = weight.detach().full_tensor()  # type: ignore[attr-defined]
            if self._is_main:
                found[name] = whole
        if self._is_main:
            self._network.load_state_dict(found, assign=True)
            found.clear()
        try:
            yield self._trainable.of(self._network)
        finally:
            self._network.to("meta")
