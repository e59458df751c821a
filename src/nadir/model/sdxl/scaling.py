"""How raw latents become what the U-Net sees, and back (paper App. B)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, get_args

import torch

from nadir.diffusion.names import Scaling
from nadir.ground.errors import NadirError

KINDS = get_args(Scaling)


@dataclass(frozen=True)
class LatentScaling:
    """The affine map between raw latents (the VAE's posterior mean) and normalised ones.

    `per_channel` is (x - mean) / std for each latent channel; `sdxl` is x * scaling_factor.

    Attributes:
        kind: `sdxl` or `per_channel`.
        mean: Mean of each channel of raw latents; empty for `sdxl`.
        std: Standard deviation of each channel; empty for `sdxl`.
        scaling_factor: The scalar of `sdxl`; 1.0 for `per_channel`.
    """

    kind: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scaling_factor: float = 1.0

    def __post_init__(self) -> None:
        problem = ""
        if self.kind not in KINDS:
            problem = f"latent scaling {self.kind!r} is none of {', '.join(KINDS)}"
        elif self.kind == "per_channel" and (not self.mean or len(self.mean) != len(self.std)):
            problem = "per-channel latent scaling needs a mean and a std for every channel"
        elif min((*self.std, self.scaling_factor)) <= 0:
            problem = "latent scaling has a std or factor that is not positive"
        if problem:
            raise NadirError(
                problem,
                where="latent_scaling",
                fix="rebuild data/latent_statistics.json: `dvc repro latent_statistics`",
            )

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> LatentScaling:
        """The inverse of `as_dict`."""
        return cls(
            kind=value["kind"],
            mean=tuple(value["mean"]),
            std=tuple(value["std"]),
            scaling_factor=value["scaling_factor"],
        )

    @classmethod
    def from_vae_config(cls, config: Any) -> LatentScaling:
        """What a diffusers VAE configuration says.

        The stock pipeline decodes z * std / scaling_factor + mean, so a factor other than 1 is
        part of the std. A `shift_factor` means (x - shift) * scaling_factor, as in the pipelines
        that know it; SDXL's pass over it.

        Raises:
            NadirError: It has both a shift and a mean.
        """
        factor = float(config["scaling_factor"])
        mean, std = config.get("latents_mean"), config.get("latents_std")
        shift = float(config.get("shift_factor") or 0.0)
        if shift and mean is not None:
            raise NadirError(
                "the VAE's configuration has both shift_factor and latents_mean",
                where="vae/config.json",
                fix="remove the one that its latents were not made for",
            )
        if shift:
            channels = int(config["latent_channels"])
            return cls("per_channel", (shift,) * channels, (1.0 / factor,) * channels)
        if mean is None or std is None:
            return cls(kind="sdxl", scaling_factor=factor)
        return cls(kind="per_channel", mean=tuple(mean), std=tuple(s / factor for s in std))

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        value = asdict(self)
        return value | {"mean": list(self.mean), "std": list(self.std)}

    def vae_config(self) -> dict[str, Any]:
        """The VAE configuration entries that make the stock pipeline do `denormalise`."""
        if self.kind == "sdxl":
            mean = std = None
        else:
            mean, std = list(self.mean), list(self.std)
        return {
            "scaling_factor": self.scaling_factor,
            "shift_factor": None,
            "latents_mean": mean,
            "latents_std": std,
        }

    def channel_stds(self, channels: int) -> tuple[float, ...]:
        """What one unit of each normalised channel is in raw latents."""
        return self.std or (1.0 / self.scaling_factor,) * channels

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        """Raw latents [..., C, h, w] to what the U-Net is trained on."""
        if self.kind == "sdxl":
            return latents * self.scaling_factor
        mean, std = self._tensors(latents)
        return (latents - mean) / std

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        """The U-Net's latents [..., C, h, w] to raw ones, which the VAE decodes."""
        if self.kind == "sdxl":
            return latents / self.scaling_factor
        mean, std = self._tensors(latents)
        return latents * std + mean

    def _tensors(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = torch.tensor(self.mean, dtype=like.dtype, device=like.device)[:, None, None]
        std = torch.tensor(self.std, dtype=like.dtype, device=like.device)[:, None, None]
        return mean, std
