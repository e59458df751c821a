"""Model versions: found before they are made, and the aliases that say which one is live."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.ground.workspace import PARAMS_FILE
from nadir.tracking.lineage import COPY_TAG, FINGERPRINT_TAG, MODEL_TAG, OUTPUT_TAG
from nadir.tracking.store.connection import connect, missing_is_none, store_faults

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"
PENDING_TAG = "nadir.aliases_pending"
"""On a version from its making until its aliases are set: a kill between the two is made good."""
PRUNING_TAG = "nadir.pruning"
"""On a version from the moment when `nadir registry prune` begins to remove it."""
_SCHEME = "models:/"
_LARGEST = 2**31 - 1  # of a version's column in MLflow's database


@dataclass(frozen=True)
class Version:
    """A registered model version.

    Attributes:
        name: The registered model.
        version: Its number.
        md5: DVC's hash of the checkpoint folder it points to.
        run_id: The training run.
        aliases: Names that point to it, sorted.
        tags: Its lineage.
        created_ms: When it was registered, milliseconds since 1970.
    """

    name: str
    version: int
    md5: str
    run_id: str
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    created_ms: int = 0

    @property
    def held(self) -> str:
        """Precision of the weights that it holds itself; "" of a pointer to DVC's."""
        return self.tags.get(COPY_TAG, "")

    @property
    def model_id(self) -> str:
        """MLflow's id of the logged model whose files it has; "" of early versions."""
        return self.tags.get(MODEL_TAG, "")


def model_name(root: Path) -> str:
    """The registered model's name, from `params.yaml`."""
    from nadir.config.reader import read_section
    from nadir.config.register import RegisterParams

    return read_section("register", RegisterParams, root / PARAMS_FILE).model_name


def version_uri(text: str, root: Path) -> str:
    """`models:/...` as it is; a number or an alias alone is of the model that params.yaml names."""
    if text.startswith(_SCHEME):
        return text
    return f"{_SCHEME}{model_name(root)}{'/' if text.isdecimal() else '@'}{text}"


def find_version(
    client: MlflowClient, name: str, *, md5: str, fingerprint: str | None = None
) -> Version | None:
    """The newest version made of this very checkpoint, by this very stage state if it is given."""
    wanted = {OUTPUT_TAG: md5} | ({FINGERPRINT_TAG: fingerprint} if fingerprint else {})
    found = _search(client, name, wanted)
    newest = max(found, key=_number, default=None)
    return None if newest is None else _version(client, newest)


def only_version(client: MlflowClient, name: str, *, md5: str, fingerprint: str) -> Version | None:
    """The version of this very checkpoint and stage state, after its duplicates are removed.

    The lock keeps two machines from making one each. Where one of them lost it unknown to itself
    (it slept, or was cut off), both come here after theirs is made, and all choose alike: a version
    that has got its aliases before any that has not, then the one that was made first.

    Raises:
        MlflowException: The store refuses.
    """
    wanted = {OUTPUT_TAG: md5, FINGERPRINT_TAG: fingerprint}
    found = [one for one in _search(client, name, wanted) if PRUNING_TAG not in one.tags]
    whole = [one for one in found if PENDING_TAG not in one.tags]
    pending = sorted((one for one in found if PENDING_TAG in one.tags), key=_number)
    chosen = min(whole, key=_number) if whole else next(iter(pending), None)
    for duplicate in pending:
        if duplicate is not chosen:
            with missing_is_none():
                client.delete_model_version(name, duplicate.version)
    return None if chosen is None else _version(client, chosen)


def _search(client: MlflowClient, name: str, tags: Mapping[str, str]) -> list[ModelVersion]:
    conditions = [f"name = '{name}'", *(f"tag.`{key}` = '{at}'" for key, at in tags.items())]
    return list(client.search_model_versions(" and ".join(conditions)))


def _number(found: ModelVersion) -> int:
    return int(found.version)


def newest_version(client: MlflowClient, name: str) -> Version | None:
    """The version with the highest number."""
    found = client.search_model_versions(f"name = '{name}'", max_results=1000)
    newest = max(found, key=_number, default=None)
    return None if newest is None else _version(client, newest)


def alias_table(client: MlflowClient, name: str) -> dict[str, str]:
    """Version number by alias; empty only when the store says that there is no such model.

    Raises:
        MlflowException: The store says anything else: nothing is known about its aliases then.
    """
    model = registered_model(client, name)
    return {} if model is None else {alias: str(at) for alias, at in model.aliases.items()}


def registered_model(client: MlflowClient, name: str) -> RegisteredModel | None:
    """The model with its aliases and tags; None only when the store says that there is none.

    Raises:
        MlflowException: The store says anything else.
        NadirError: It answered about another model.
    """
    model = None
    with missing_is_none():
        model = client.get_registered_model(name)
    if model is not None and model.name != name:  # something between here and the store answered
        raise NadirError(
            f"the store was asked about the model `{name}` and answered about `{model.name}`",
            where=client.tracking_uri,
            fix="see that the address is the MLflow server's, and what proxy lies before it",
        )
    return model


@store_faults()
def resolve_version(uri: str, root: Path) -> Version:
    """The version that `models:/name@alias` or `models:/name/number` names.

    Raises:
        NadirError: Another form, no such model, alias or version, or the store cannot tell.
    """
    rest = uri.removeprefix(_SCHEME)
    name, at, alias = rest.partition("@")
    number = ""
    if not at:
        name, _, number = rest.partition("/")
    if not uri.startswith(_SCHEME) or not name or not (alias or number):
        raise NadirError(
            f"`{uri}` names no registered model",
            fix="write models:/nadir@champion or models:/nadir/3",
        )
    client = connect(root)
    if at:
        number = alias_table(client, name).get(alias, "")
    found = None
    # MLflow's own error for what is not a number, or not one that its database could hold, says
    # nothing of the model.
    if number.isdecimal() and int(number[:20]) <= _LARGEST:
        with missing_is_none():
            found = client.get_model_version(name, number)
    if found is None:
        raise NadirError(
            f"the registry has no `{uri}`", where=client.tracking_uri, fix=_known(client, name)
        )
    return _version(client, found)


def with_aliases(client: MlflowClient, version: Version) -> Version:
    """The version with the aliases it has now."""
    number = str(version.version)
    table = alias_table(client, version.name)
    return replace(version, aliases=tuple(sorted(a for a, at in table.items() if at == number)))


def _version(client: MlflowClient, found: ModelVersion) -> Version:
    version = Version(
        name=found.name,
        version=int(found.version),
        md5=found.tags.get(OUTPUT_TAG, ""),
        run_id=found.run_id or "",
        tags=dict(found.tags),
        created_ms=int(found.creation_timestamp or 0),
    )
    return with_aliases(client, version)


def _known(client: MlflowClient, name: str) -> str:
    aliases = alias_table(client, name)
    if not aliases:
        return "`nadir run` trains and registers a model; `nadir status` shows its name"
    listed = ", ".join(f"@{alias} (version {number})" for alias, number in sorted(aliases.items()))
    return f"known: {listed}"
