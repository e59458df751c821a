"""Two processes that make text states while another training makes some of the same."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from tests.training.sharding.ranks import FORKS

from nadir.model.sdxl.networks import load_text
from nadir.training.text_states import making
from nadir.training.text_states.store import StateStore, caption_hash, write_states


def make_beside_another(base: Path, folder: Path, captions: list[str]) -> list[int | None]:
    """Let two processes make the captions' states; gives their exit codes.

    Args:
        base: A model's folder.
        folder: Of the states.
        captions: Another training writes the states of the first 16 just before the second
            process looks.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (str(base), str(folder), captions, str(port))
    started = [FORKS.Process(target=_rank, args=(rank, *arguments)) for rank in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        process.kill()
    return [process.exitcode for process in started]


def _rank(rank: int, base: str, folder: str, captions: list[str], port: str) -> None:
    places = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= places | {"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    accelerator, text = Accelerator(cpu=True), load_text(Path(base))
    looks, looked = 0, Path(folder).with_name("looked")

    class Late(StateStore):
        def __init__(self, where: Path, *rest: Any) -> None:
            nonlocal looks
            looks += 1
            if rank and looks == 1:
                while not looked.exists():
                    time.sleep(0.01)
                others = captions[:16]
                keys = [caption_hash(caption) for caption in others]
                write_states(where, keys, *making.states_of(text, others, 1))
            super().__init__(where, *rest)
            looked.touch()

    making.StateStore = Late  # type: ignore[misc]
    made = making.make_states(
        iter(captions), Path(folder), text=text, chunks=1, accelerator=accelerator, stop=None
    )
    if not all(caption_hash(caption) in made.places for caption in captions):
        os._exit(3)
