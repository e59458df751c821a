"""The pages of servers that run already, as the environment names them."""

from __future__ import annotations

import os

PREFECT_VARIABLE = "PREFECT_API_URL"


def mlflow_page(tracking_uri: str) -> str | None:
    """The page of the MLflow server that the store is; None for a database of one's own."""
    return tracking_uri if tracking_uri.startswith(("http://", "https://")) else None


def prefect_page() -> str | None:
    """The page of the Prefect server that `PREFECT_API_URL` names; None without one."""
    named = os.environ.get(PREFECT_VARIABLE, "").rstrip("/")
    return named.removesuffix("/api") or None
