"""Keeps the libraries' own progress bars out of stage logs."""

from __future__ import annotations

import diffusers.utils.logging
import transformers.utils.logging


def hide_progress_bars() -> None:
    """Switch off the bars that diffusers and transformers show when they load and save."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
