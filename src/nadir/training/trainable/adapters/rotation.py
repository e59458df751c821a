"""OFT as LyCORIS has it: a layer's outputs are rotated, block by block.

peft's OFT rotates the inputs of a layer, which no other program's file can say: W R is not R' W.
"""

from __future__ import annotations

import torch


class OutputRotation(torch.nn.Module):
    """A frozen layer whose output channels are rotated in blocks (Qiu et al. 2306.07280).

    W' = Rᵀ W with R = (I + Q)(I - Q)⁻¹ and Q = B - Bᵀ, B being trained; the bias is not rotated.

    Args:
        base_layer: A linear or convolution layer.
        size: The largest block; blocks are as large as divides the output channels evenly.
        limit: The most that the norm of all Q together may be; beyond it Q is scaled down.
    """

    def __init__(
        self, base_layer: torch.nn.Linear | torch.nn.Conv2d, size: int, limit: float
    ) -> None:
        super().__init__()
        self.base_layer: torch.nn.Linear | torch.nn.Conv2d = base_layer
        self.limit = limit
        channels = int(base_layer.weight.shape[0])
        side = next(s for s in range(min(size, channels), 0, -1) if channels % s == 0)
        blocks_KNN = torch.zeros(channels // side, side, side, dtype=torch.float32)
        self.oft_blocks = torch.nn.Parameter(blocks_KNN)

    def turns(self) -> torch.Tensor:
        """Rᵀ of each block, [K, N, N]."""
        with torch.autocast(self.oft_blocks.device.type, enabled=False):
            blocks_KNN = self.oft_blocks
            skew_KNN = blocks_KNN - blocks_KNN.mT
            norm = torch.linalg.vector_norm(skew_KNN) + 1e-8
            skew_KNN = skew_KNN * (self.limit / norm).clamp(max=1.0)
            eye_NN = torch.eye(skew_KNN.shape[-1], device=skew_KNN.device)
            # (I + Q)⁻¹ (I - Q), since Q is its own negative transpose.
            turns_KNN: torch.Tensor = torch.linalg.solve(eye_NN + skew_KNN, eye_NN - skew_KNN)
            return turns_KNN

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The base layer's output, rotated where the bias is not yet added."""
        output: torch.Tensor = self.base_layer(x)
        channels = -1 if isinstance(self.base_layer, torch.nn.Linear) else 1
        plain = output.movedim(channels, -1)
        if self.base_layer.bias is not None:
            plain = plain - self.base_layer.bias
        turns_KNN = self.turns()
        count, side = turns_KNN.shape[:2]
        # Only the change goes through low precision, which a small rotation would be lost in.
        change_KNN = (turns_KNN - torch.eye(side, device=turns_KNN.device)).to(plain.dtype)
        parts = plain.view(*plain.shape[:-1], count, side)
        change = torch.einsum("...kn,kmn->...km", parts, change_KNN).flatten(-2)
        return output + change.movedim(-1, channels).to(output.dtype)

    @torch.no_grad()
    def merge(self) -> None:
        """Rotate the base layer's weight itself."""
        weight = self.base_layer.weight
        turns_KNN = self.turns().to(weight.dtype)
        rows = weight.data.reshape(*turns_KNN.shape[:2], -1)
        weight.data = torch.einsum("kmn,kni->kmi", turns_KNN, rows).reshape(weight.shape)
