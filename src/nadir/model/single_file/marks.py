"""The tensors and the entry of the header by which a single file says what its model is."""

from __future__ import annotations

from typing import Any

V_MARKER, ZERO_SNR_MARKER = "v_pred", "ztsnr"
"""Names of empty tensors at the top level, whose presence alone counts."""
METADATA_KEY = "nadir"
"""Nadir's own entry of the metadata, JSON."""


def noise_markers(noise: dict[str, Any]) -> list[str]:
    """Names of the empty tensors by which other programs know a noise process."""
    if noise["prediction"] != "v":
        return []
    return [V_MARKER, ZERO_SNR_MARKER] if noise["zero_terminal_snr"] else [V_MARKER]
