"""What a VAE's encoder is, remembered by its files, so that it need not be loaded to be known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.ground.files import canonical_hash, file_hash, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from diffusers import AutoencoderKL


@dataclass(frozen=True)
class EncoderFacts:
    """What decides a latent's key and size.

    Attributes:
        hash: Of the weights that make latents, in the precision they are used in.
        factor: Pixels along one pixel of the latent.
    """

    hash: str
    factor: int


def encoder_facts(
    folder: Path, precision: str, load: Callable[[], AutoencoderKL], *, known: Path
) -> EncoderFacts:
    """The facts of the VAE in a folder.

    Args:
        folder: The `vae` folder of a model.
        precision: What the weights are used in.
        load: Loads it in that precision; called only where its files are not known.
        known: File of what is known, by the hash of a VAE's files. One that is lost or damaged
            costs a load.

    Raises:
        NadirError: The VAE is missing or not whole.
    """
    files = {path.name: file_hash(path) for path in sorted(folder.glob("*")) if path.is_file()}
    key = canonical_hash([files, precision, version("diffusers")])
    try:
        remembered = read_json(known)[key] if files and known.is_file() else None
        if remembered is not None:
            return EncoderFacts(hash=str(remembered["hash"]), factor=int(remembered["factor"]))
    except (NadirError, ValueError, KeyError, TypeError):
        pass
    facts = _read(load())
    # Only the last one: another base is another VAE, and a project has one.
    write_json(known, {key: asdict(facts)})
    return facts


def _read(vae: AutoencoderKL) -> EncoderFacts:
    from nadir.model.sdxl.autoencoder import pixel_factor
    from nadir.model.sdxl.hashing import encoder_hash

    return EncoderFacts(hash=encoder_hash(vae), factor=pixel_factor(vae))
