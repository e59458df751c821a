"""The pages of servers that run already, as the environment names them."""

from __future__ import annotations

import os

from nadir.ground.secrets import masked

PREFECT_VARIABLE = "PREFECT_API_URL"


def mlflow_page(tracking_uri: str) -> str | None:
    """The page of the MLflow server that is the store, to show; None for a local database."""
    return masked(tracking_uri) if tracking_uri.startswith(("http://", "https://")) else None


def prefect_page() -> str | None:
    """The page of the Prefect server that `PREFECT_API_URL` names; None without one."""
    named = os.environ.get(PREFECT_VARIABLE, "").rstrip("/")
    return masked(named.removesuffix("/api")) or None
