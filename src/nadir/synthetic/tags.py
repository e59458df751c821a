"""The tags of a scene, as a careful tagger would give them: only what can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.synthetic.chance import IMPLIED
from nadir.synthetic.sampling import background_tags

if TYPE_CHECKING:
    from nadir.synthetic.characters.looks import Look, Scene

_COLOURLESS = {"silhouette", "monochrome", "sketch"}
_RAISED_POSES = {"waving", "arms_up", "v", "holding_up"}


def scene_tags(scene: Scene) -> list[str]:
    """The scene's tags, each once: people count first, then the rest."""
    tags = [*_count(scene)]
    bare = bool(_COLOURLESS & {*scene.effects, *scene.meta})
    for look in scene.people:
        tags += _look_tags(look, scene.framing, dark="silhouette" in scene.effects, colourless=bare)
    if scene.people:
        tags.append(scene.framing)
    if scene.framing == "full_body":
        tags += ["chibi", "standing"]
    if scene.creature:
        tags.append(scene.creature)
    elif not scene.people:
        tags.append("scenery")
    tags += [*scene.effects, *(("greyscale",) if "monochrome" in scene.effects else ())]
    tags += sorted(background_tags(scene.background))
    names = [look.name for look in scene.people if look.name]
    tags += [*names, "nadir_(series)"] if names else ["original"] if scene.seed % 3 == 0 else []
    tags += [scene.artist, *scene.meta]
    implied = [more for tag in tags for more in IMPLIED.get(tag, ())]
    return list(dict.fromkeys([*tags, *implied]))


def _count(scene: Scene) -> list[str]:
    if not scene.people:
        return ["no_humans"]
    girls = sum(look.girl for look in scene.people)
    boys = len(scene.people) - girls
    tags = [f"{n}{word}{'s' if n > 1 else ''}" for n, word in ((girls, "girl"), (boys, "boy")) if n]
    return [*tags, "solo" if len(scene.people) == 1 else "multiple_people"]


def _look_tags(look: Look, framing: str, *, dark: bool, colourless: bool) -> list[str]:
    tags = [look.hair_style, *look.accessories, *look.features]
    if not dark:
        tags += [*look.expression, look.bangs, *_garment(look, framing, colourless=colourless)]
    if not colourless:
        tags += [look.hair_colour, look.skin]
        if "closed_eyes" not in look.expression and "sunglasses" not in look.accessories:
            tags.append(look.eyes)
    if framing != "portrait" or look.pose in _RAISED_POSES:
        held = ["holding", look.prop] if look.prop else []
        tags += held or [look.pose]
    return [tag for tag in tags if tag]


def _garment(look: Look, framing: str, *, colourless: bool) -> list[str]:
    """Clothes that the framing shows."""
    tags = [look.garment]
    if look.garment not in {"serafuku", "armor", "sundress", "maid_apron"}:
        tags.append(f"{look.garment_colour}_{look.garment}")
    elif look.garment == "sundress":
        tags.append(f"{look.garment_colour}_dress")
    if framing in {"cowboy_shot", "full_body"} and look.bottom:
        tags += [look.bottom, f"{look.bottom_colour}_{look.bottom}"]
    if framing == "full_body":
        tags += [look.legwear, "shoes"]
    coloured = {f"{look.garment_colour}_", f"{look.bottom_colour}_"}
    return [tag for tag in tags if not (colourless and tag.startswith(tuple(coloured)))]
