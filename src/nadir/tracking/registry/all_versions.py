"""All that is registered: every version of every model of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.ground.workspace import main_workspace
from nadir.tracking.lineage import OUTPUT_TAG
from nadir.tracking.registry.versions import Version
from nadir.tracking.store.connection import connect, store_faults, tracking_uri
from nadir.tracking.store.lock import TICKET_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from mlflow import MlflowClient

_PAGE = 1000


@store_faults()
def registered_versions(root: Path, *, client: MlflowClient | None = None) -> list[Version]:
    """Every version in the store, of whatever model, with its aliases; by name and number.

    Args:
        root: The project's root.
        client: Of another store than the environment's.

    Raises:
        NadirError: The store cannot be asked.
    """
    client = client or connect(root)
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in pages(client.search_registered_models):
        for alias, number in model.aliases.items():
            aliases.setdefault((model.name, str(number)), []).append(alias)
    versions = [
        Version(
            name=found.name,
            version=int(found.version),
            md5=found.tags.get(OUTPUT_TAG, ""),
            run_id=found.run_id or "",
            aliases=tuple(sorted(aliases.get((found.name, str(found.version)), []))),
            tags=dict(found.tags),
            created_ms=int(found.creation_timestamp or 0),
        )
        for found in pages(client.search_model_versions)
        if TICKET_TAG not in found.tags
    ]
    return sorted(versions, key=lambda version: (version.name, version.version))


def local_store(root: Path) -> MlflowClient | None:
    """The store in this clone, where the environment names another and it is there too."""
    from mlflow import MlflowClient

    path = main_workspace(root) / "work" / "mlflow" / "mlflow.db"
    uri = f"sqlite:///{path}"
    if not path.is_file() or tracking_uri(root) == uri:
        return None
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@store_faults()
def knows_run(client: MlflowClient, run_id: str) -> bool:
    """Whether a store has a run, deleted or not.

    Raises:
        NadirError: The store cannot be asked.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return False
        raise
    return True


@store_faults()
def tag_version(root: Path, version: Version, tags: Mapping[str, str]) -> None:
    """Add tags to a version.

    Raises:
        NadirError: The store refuses.
    """
    client = connect(root)
    for key, value in tags.items():
        client.set_model_version_tag(version.name, str(version.version), key, value)


def pages(search: Callable[..., Any]) -> Iterator[Any]:
    """Whatever a search of MLflow's client finds, page by page."""
    token = None
    while True:
        page = search(max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
