"""One encoding process; `accelerate launch -m nadir.stages.encode_part` starts as many as wanted.

The job lies in a folder of its own: `rows.parquet` says what to encode, and a fault that the user
can act on is left there (`nadir.compute.child_fault`).
"""

from __future__ import annotations

import argparse
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from nadir.compute.child_fault import faults_left_in
from nadir.compute.lean_start import loaded
from nadir.compute.parent_death import die_with_parent
from nadir.config.compute import ComputeParams
from nadir.config.encode import EncodeParams
from nadir.config.reader import read_section
from nadir.config.validate import ValidateParams
from nadir.data.latents.store import LatentStore
from nadir.ground import artifacts
from nadir.ground.logs.setup import begin
from nadir.ground.workspace import work_folder
from nadir.model.sdxl.encoding import encode_missing
from nadir.model.sdxl.opening import ImageOpener
from nadir.stages.source import source_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    import torch
    from diffusers import AutoencoderKL

ROWS = "rows.parquet"

# A process waits for the slowest one at the end; a large part may take days.
_PATIENCE = timedelta(days=30)


def encode_part(
    job: pa.Table, vae: AutoencoderKL, device: torch.device, *, rank: int = 0, ranks: int = 1
) -> None:
    """Encode part `rank` of `ranks` of a job into `work/latents`, as the parameters say.

    Raises:
        NadirError: An image is gone or has changed since `validate`, or has no finite latent.
    """
    validate = read_section("validate", ValidateParams)
    encode_missing(
        job,
        vae=vae.to(device),
        store=LatentStore(work_folder("latents")),
        params=read_section("encode", EncodeParams),
        open_row=ImageOpener(
            source=source_of(),
            alpha_background=validate.alpha_background,
            max_pixels=validate.max_pixels,
        ),
        workers=read_section("compute", ComputeParams).workers,
        rank=rank,
        ranks=ranks,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Encode this process' part of the job; exits 1 on a fault."""
    import torch
    from accelerate import PartialState

    from nadir.compute.devices import pick_device
    from nadir.model.sdxl.autoencoder import DTYPES
    from nadir.model.sdxl.networks import load_vae

    loaded()
    parser = argparse.ArgumentParser(description="one encoding process")
    parser.add_argument("--job", type=Path, required=True, help="the job's folder")
    folder = parser.parse_args(arguments).job
    die_with_parent()
    begin(stage="encode")
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    name = read_section("compute", ComputeParams).device
    on_cpu = name == "cpu" or not (torch.cuda.is_available() or torch.xpu.is_available())
    state = PartialState(cpu=several and on_cpu, timeout=_PATIENCE)
    try:
        with faults_left_in(folder, where="encode"):
            vae = load_vae(
                artifacts.BASE, dtype=DTYPES[read_section("encode", EncodeParams).precision]
            )
            encode_part(
                pq.read_table(folder / ROWS, pre_buffer=False),
                vae,
                state.device if several else pick_device(name),
                rank=state.process_index,
                ranks=state.num_processes,
            )
            # The first machine ends the stage, so it must not be done before the others are.
            state.wait_for_everyone()
    finally:
        state.destroy_process_group()


if __name__ == "__main__":
    main()
