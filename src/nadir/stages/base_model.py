"""Stage `base_model`: the SDXL that training starts from."""

from __future__ import annotations

from nadir.config.base_model import BaseModelParams
from nadir.config.reader import read_section
from nadir.ground import artifacts
from nadir.ground.events import Progress, emit, say
from nadir.model.fetch import TINY, fetch_base
from nadir.stages.runner import run


def work() -> None:
    """Write models/base.

    Raises:
        NadirError: The source cannot be had.
    """
    params = read_section("base_model", BaseModelParams)
    if params.source == TINY:
        progress = Progress("base_model", params.tiny.vae_steps, "VAE steps")
        facts = fetch_base(params, artifacts.BASE, on_step=lambda note: progress.advance(1, note))
    else:
        say(f"base_model: fetching {params.source}")
        facts = fetch_base(params, artifacts.BASE)
    counts = facts["parameters"]
    say(
        f"base_model: {facts['source']}, U-Net of {counts['unet'] / 1e6:,.1f} M parameters, "
        f"VAE of {counts['vae'] / 1e6:,.1f} M; predicts {facts['noise']['prediction']}"
        f"{', zero terminal SNR' if facts['noise']['zero_terminal_snr'] else ''}"
    )
    emit("result", stage="base_model", source=facts["source"], unet_parameters=counts["unet"])


def main() -> None:
    """Entry point."""
    run("base_model", work)


if __name__ == "__main__":
    main()
