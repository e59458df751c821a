"""How far a new dataset is from the one that the live model was trained on.

`validate` measures drift from the accepted dataset, a file of this clone, since a stage knows no
registry. The champion may have been promoted elsewhere, or be the first version, which nobody
accepted; so the pipeline asks the registry when the dataset has changed. It decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from nadir.config.reader import read_section
from nadir.config.validate import ValidateParams
from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json_object
from nadir.ground.workspace import PARAMS_FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DRIFTED = "nadir.dataset.drifted"
"""Name of Prefect's event."""
_WORDS = {
    "tag_drift": "the tag uses differ",
    "size_drift": "the images differ in size or shape",
    "luminance_drift": "the images differ in brightness",
}


@dataclass(frozen=True)
class Drift:
    """A dataset beside the champion's.

    Attributes:
        model: The registered model's name.
        champion: Number of the live version.
        shares: Total variation distances, 0 to 1, by `tag_drift`, `size_drift`, `luminance_drift`.
        limits: Of params.yaml, by the same names.
        tags: The tags whose share of the uses changed most: (tag, before, now).
    """

    model: str
    champion: int
    shares: dict[str, float]
    limits: dict[str, float]
    tags: list[tuple[str, float, float]] = field(default_factory=list)

    @property
    def over(self) -> list[str]:
        """What lies above its limit."""
        return [name for name, share in self.shares.items() if share > self.limits[name]]

    def warnings(self) -> list[str]:
        """A sentence for each limit that is passed; of tags, which changed most."""
        told = []
        for name in self.over:
            text = (
                f"{self.shares[name]:.0%} of {_WORDS[name]} from the dataset of the champion, "
                f"version {self.champion} (validate.{name}: {self.limits[name]:.0%})"
            )
            if name == "tag_drift":
                most = [f"{tag} {before:.1%} -> {now:.1%}" for tag, before, now in self.tags]
                text += f"; most changed: {', '.join(most)}"
            told.append(text)
        return told

    def event(self) -> dict[str, Any]:
        """Arguments of Prefect's `emit_event`."""
        resource = {
            "prefect.resource.id": f"nadir.model.{self.model}",
            "prefect.resource.name": self.model,
        }
        payload = {
            "model": self.model,
            "champion": self.champion,
            "over": self.over,
            "reason": "; ".join(self.warnings()),
            **self.shares,
        }
        return {"event": DRIFTED, "resource": resource, "payload": payload}

    def on_page(self, page: str) -> str:
        """The gate's page with the warnings below its heading; without any, as it is."""
        rows = Markup("").join(
            Markup('<p class="verdict unsure">Drift: {}</p>').format(text)
            for text in self.warnings()
        )
        return page.replace("</h1>", f"</h1>{rows}", 1)


def look_at_drift(root: Path, say: Callable[[str], None]) -> Drift | None:
    """Compare the present dataset with the champion's, and say where it lies above a limit.

    Args:
        root: The project's root.
        say: Called with warnings, and with why it is unknown where the store cannot tell.

    Returns:
        None where there is no champion that tells its dataset, or too few images to compare.
    """
    try:
        found = _drift(root)
    except NadirError as error:
        say(f"warning: drift from the champion's dataset is unknown: {error.what}")
        return None
    for text in found.warnings() if found else ():
        say(f"WARNING drift: {text}")
    return found


def _drift(root: Path) -> Drift | None:
    from nadir.data.gate.profile import changed_tags, drift
    from nadir.tracking.registry.champion_dataset import champion_dataset

    if not (root / artifacts.PROFILE).is_file():
        return None
    known = champion_dataset(root)
    if known is None:
        return None
    champion, before = known
    now = read_json_object(root / artifacts.PROFILE)
    shares = {name: share for name, share in drift(now, before).items() if share is not None}
    if not shares:
        return None
    params = read_section("validate", ValidateParams, root / PARAMS_FILE)
    limits = {name: float(getattr(params, name).maximum) for name in shares}
    return Drift(champion.name, champion.version, shares, limits, changed_tags(now, before, 3))
