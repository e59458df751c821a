"""What a picture shows, as plain data: people, their looks, and the scene around them."""

from __future__ import annotations

from dataclasses import dataclass, field

from nadir.synthetic.palette import CLOTH, HAIR, Colour

ASPECTS: tuple[tuple[int, int], ...] = (
    (1, 1), (3, 4), (4, 5), (2, 3), (5, 6), (4, 3), (3, 2), (5, 4), (9, 16), (16, 9), (5, 8),
    (1, 2),
    (2, 1), (7, 10), (12, 5),
)  # fmt: skip
"""Width to height of the pictures, most frequent first."""

PLURALS = {1: "", 2: "s", 3: "s"}


@dataclass(frozen=True)
class Look:
    """One person. Strings are booru tags; an empty string means nothing worth a tag.

    Attributes:
        girl: Girl or boy.
        skin: Key of `palette.SKIN`.
        hair_colour: Key of `palette.HAIR`.
        hair_style: Tag of the hair's shape.
        bangs: Tag of the bangs.
        eyes: Key of `palette.EYES`.
        expression: Tags of face and mood.
        features: Tags of the body, such as `pointy_ears`.
        garment: Tag of the main garment without its colour.
        garment_colour: Key of `palette.CLOTH`.
        bottom: Tag of skirt or trousers without colour; empty under a dress.
        bottom_colour: Key of `palette.CLOTH`.
        legwear: Tag of socks.
        accessories: Tags of what is worn on head, face and neck.
        accent: Key of `palette.CLOTH`, the colour of accessories.
        pose: Tag of the arms' pose.
        prop: Tag of what the hands hold.
        name: Tag of a recurring character.
    """

    girl: bool = True
    skin: str = ""
    hair_colour: str = "brown_hair"
    hair_style: str = "short_hair"
    bangs: str = ""
    eyes: str = "blue_eyes"
    expression: tuple[str, ...] = ("smile",)
    features: tuple[str, ...] = ()
    garment: str = "dress"
    garment_colour: str = "red"
    bottom: str = ""
    bottom_colour: str = "black"
    legwear: str = ""
    accessories: tuple[str, ...] = ()
    accent: str = "red"
    pose: str = ""
    prop: str = ""
    name: str = ""

    def has(self, tag: str) -> bool:
        """Whether the face shows this."""
        return tag in self.expression

    @property
    def mood(self) -> str:
        """The tag that turns brows and mouth, or an empty string."""
        return next((tag for tag in ("angry", "frown") if tag in self.expression), "")

    def hair_tone(self) -> Colour:
        """The hair's colour."""
        return HAIR[self.hair_colour]

    def cloth(self, colour: str) -> Colour:
        """The colour of a piece of clothing."""
        return CLOTH[colour]


@dataclass(frozen=True)
class Scene:
    """One picture.

    Attributes:
        width: Pixels.
        height: Pixels.
        artist: Key of `styles.ARTISTS`.
        people: Who is in it, left to right; empty for `no_humans`.
        creature: Tag of the subject when there are no people; empty for a mere landscape.
        background: Tag of the background (plain colour, pattern or scenery).
        framing: Tag of how much of the people is seen.
        effects: Tags of what happens to the whole picture, such as `dark` or `sketch`.
        meta: Tags about the file, such as `highres`.
        seed: Seed of clouds, stars and other scattered things.
    """

    width: int
    height: int
    artist: str
    people: tuple[Look, ...] = ()
    creature: str = ""
    background: str = "white_background"
    framing: str = "upper_body"
    effects: tuple[str, ...] = ()
    meta: tuple[str, ...] = ()
    seed: int = field(default=0)

    @property
    def plain(self) -> bool:
        """Whether the background is one colour or a pattern instead of a place."""
        return self.background.endswith("_background")
