"""The loops that `bench.gpu` is held against: the least that trains, and diffusers' own script.

Both take the same batch as ours and change the same weights: all of the U-Net, kept in float32 and
multiplied in bfloat16.

- `BareLoop`: torch alone. v target, fused AdamW, clipping, the U-Net's repeated blocks compiled.
- `ScriptLoop`: one step as `examples/text_to_image/train_text_to_image_sdxl.py` of diffusers 0.42
  makes it when its latents and text states are computed beforehand, with `--mixed_precision bf16`
  and, if asked for, `--gradient_checkpointing`: accelerate, torch's AdamW as it comes, noise added
  by `DDPMScheduler`, the loss read once a step. Written anew from what the script does.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

_RATE = 1e-5
_LIMIT = 1.0


def _predict(unet: Any, noisy: torch.Tensor, steps: torch.Tensor, batch: Any) -> torch.Tensor:
    added = {"text_embeds": batch.pooled_BP, "time_ids": batch.time_ids_B6}
    found: torch.Tensor = unet(noisy, steps, batch.hidden_BSD, added_cond_kwargs=added).sample
    return found


class BareLoop:
    """Torch and a network.

    Args:
        unet: In float32, where it runs.
        checkpointing: Whether activations are computed again.
        device: That it runs on.
    """

    def __init__(self, unet: Any, *, checkpointing: bool, device: str) -> None:
        self._unet = unet.train()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        unet.compile_repeated_blocks(fullgraph=True, dynamic=False)
        self._device = device
        self._optimizer = torch.optim.AdamW(unet.parameters(), lr=_RATE, fused=True)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self._alphas = (1 - betas).cumprod(0).float().to(device)

    def step(self, batch: Any) -> torch.Tensor:
        """One step; the loss, which nobody waits for."""
        steps = batch.timesteps_B.to(self._device)
        a = self._alphas[steps].view(-1, 1, 1, 1)
        x, e = batch.latents_BCHW, batch.noise_BCHW
        with torch.autocast(self._device, torch.bfloat16):
            out = _predict(self._unet, a.sqrt() * x + (1 - a).sqrt() * e, steps, batch)
        loss = F.mse_loss(out.float(), a.sqrt() * e - (1 - a).sqrt() * x)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._unet.parameters(), _LIMIT)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return loss.detach()


class ScriptLoop:
    """See the module.

    Args:
        unet: In float32.
        checkpointing: Whether activations are computed again.
        device: That it runs on.
    """

    def __init__(self, unet: Any, *, checkpointing: bool, device: str) -> None:
        from accelerate import Accelerator
        from diffusers import DDPMScheduler
        from diffusers.optimization import get_scheduler

        self._accelerator = Accelerator(mixed_precision="bf16", cpu=device == "cpu")
        if checkpointing:
            unet.enable_gradient_checkpointing()
        self._noise = DDPMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
        )
        optimizer = torch.optim.AdamW(unet.parameters(), lr=_RATE, weight_decay=1e-2)
        rates = get_scheduler("constant", optimizer, num_warmup_steps=0)
        parts = self._accelerator.prepare(unet.train(), optimizer, rates)
        self._unet, self._optimizer, self._rates = parts

    def step(self, batch: Any) -> float:
        """One step; the loss, which is waited for."""
        run = self._accelerator
        with run.accumulate(self._unet):
            x, e = batch.latents_BCHW, batch.noise_BCHW
            steps = batch.timesteps_B.to(run.device)
            noisy = self._noise.add_noise(x, e, steps)
            out = _predict(self._unet, noisy, steps, batch)
            target = self._noise.get_velocity(x, e, steps)
            loss = F.mse_loss(out.float(), target.float(), reduction="mean")
            known = float(run.gather(loss.repeat(len(x))).mean().item())
            run.backward(loss)
            run.clip_grad_norm_(self._unet.parameters(), _LIMIT)
            self._optimizer.step()
            self._rates.step()
            self._optimizer.zero_grad()
        return known


PEERS = {"a bare compiled loop": BareLoop, "diffusers' script": ScriptLoop}
