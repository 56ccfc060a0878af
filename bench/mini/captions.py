"""Captions: each names a random part of what a scene shows, in one of many wordings."""

import numpy as np

from bench.mini.scenes import COLOR_NAMES, KINDS, NO_PLACE, NUMBERS, PLACES, STYLES, TEXTURES, THINGS, Scenes

OPENINGS = (
    "a photo of", "a picture of", "an image of", "a drawing of", "this is", "here is", "a view of",
    "we see", "there is", "a close up of", "a scan of", "a small picture of",
)  # fmt: skip
STANDINS = ("thing", "symbol", "sign", "object", "figure", "mark")  # for a thing that is not named
GROUNDS = (
    "on a {} ground", "on {}", "with a {} background", "on {} paper", "in front of a {} wall", "over {}",
)  # fmt: skip
UNBOUND_COLORS = ("in {} and {}", "with {}", "with some {}", "in {}", "and {}")
UNBOUND_PLACES = ("to the {}", "towards the {}", "and {}")
NOUNS = {
    "letter": ("letter {}", "{}", "the letter {}", "character {}", "capital {}"),
    "greek": ("greek letter {}", "{}", "letter {}", "greek {}"),
    "digit": ("digit {}", "number {}", "{}", "the digit {}", "figure {}"),
    "shape": ("{}", "{} shape", "{}"),
    "arrow": ("arrow pointing {}", "arrow to the {}", "{} arrow", "arrow that points {}"),
    "clock": ("clock showing {}", "clock at {} o'clock", "dial at {}", "{} o'clock"),
}
BARE = {"letter": "letter", "greek": "greek letter", "digit": "digit", "shape": "shape", "arrow": "arrow",
        "clock": "clock"}  # fmt: skip
TEXTURED = ("{} texture", "{} pattern", "{} cloth", "{} surface", "{} tiles")
LAND = ("{} from above", "{}", "an aerial view of {}", "{} land", "satellite image of {}", "a map of {}")


def caption(scenes: Scenes, i: int, rng: np.random.Generator, openings: int = 1) -> str:
    """One caption of scene i: in lower case, with a full stop at its end; it names at least one attribute.

    More `openings` make it longer without naming more ("a scan of a photo of ..."), so that every position of
    the text tower is trained.
    """
    kind = KINDS[scenes.kind[i]]
    if kind == "land":
        words = _land(scenes, i, rng)
    elif kind == "texture":
        words = _texture(scenes, i, rng)
    else:
        words = _object(scenes, i, kind, rng)
    if openings > 1 or rng.random() < 0.4:
        words = " ".join([*(_pick(OPENINGS, rng) for _ in range(openings)), words])
    return f"{words}."


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.random() * len(choices))]


def _land(s: Scenes, i: int, rng: np.random.Generator) -> str:
    words = _pick(LAND, rng).format(THINGS["land"][s.thing[i]])
    return f"infrared {words}" if s.infrared[i] and rng.random() < 0.7 else words


def _texture(s: Scenes, i: int, rng: np.random.Generator) -> str:
    words = _pick(TEXTURED, rng).format(TEXTURES[s.thing[i]])
    colors = [COLOR_NAMES[s.ink[i]], COLOR_NAMES[s.ground[i]]]
    if rng.random() < 0.5:
        colors.reverse()  # the two colours of a texture have no order
    roll = rng.random()
    if roll < 0.35:
        return f"a {words}"
    return f"a {colors[0]} {words}" if roll < 0.55 else f"a {colors[0]} and {colors[1]} {words}"


def _object(s: Scenes, i: int, kind: str, rng: np.random.Generator) -> str:
    count = int(s.count[i])
    named = rng.random() < 0.75
    before, after = [], []
    if s.style[i] and rng.random() < 0.5:
        before.append(STYLES[s.style[i]])
    if rng.random() < 0.4:
        before.append(COLOR_NAMES[s.ink[i]])
    after.extend(_ground(s, i, rng))
    placed = s.place[i] != NO_PLACE
    if placed and rng.random() < 0.55:
        place = PLACES[s.place[i]]
        after.append(_pick(("in the {}", "at the {}", "in the {} corner"), rng).format(place))
    after.extend(_unbound(s, i, rng))
    say_count = count > 1 and rng.random() < 0.8
    if not (named or before or after or say_count):
        named = True
    if named:
        noun = _pick(NOUNS[kind], rng).format(THINGS[kind][s.thing[i]])
    else:
        noun = BARE[kind] if rng.random() < 0.5 else _pick(STANDINS, rng)
    if count > 1:
        head = NUMBERS[count] if say_count else _pick(("some", "many"), rng)
        noun = plural(noun)
    elif s.kind[i] == KINDS.index("shape") and not placed and rng.random() < 0.15:
        head = "one"
    else:
        head = _pick(("a", "a", "the", ""), rng)
    rng.shuffle(after)
    return " ".join(w for w in (head, *before, noun, *after) if w)


def _unbound(s: Scenes, i: int, rng: np.random.Generator) -> list[str]:
    """Words that do not say which attribute they mean: the colour or direction can be that of two things."""
    words = []
    if rng.random() < 0.2:
        colors = [COLOR_NAMES[s.ink[i]], COLOR_NAMES[s.ground[i]]]
        if rng.random() < 0.5:
            colors.reverse()
        words.append(_pick(UNBOUND_COLORS, rng).format(*colors))
    norths = [PLACES[s.place[i]]] if s.place[i] != NO_PLACE else []
    if s.kind[i] == KINDS.index("arrow"):
        norths.append(THINGS["arrow"][s.thing[i]])
    if norths and rng.random() < 0.25:
        words.append(_pick(UNBOUND_PLACES, rng).format(_pick(tuple(norths), rng)))
    return words


def _ground(s: Scenes, i: int, rng: np.random.Generator) -> list[str]:
    words = []
    if s.texture[i] and rng.random() < 0.5:
        words.append(TEXTURES[s.texture[i] - 1])
    if rng.random() < 0.35:
        words.append(COLOR_NAMES[s.ground[i]])
    return [_pick(GROUNDS, rng).format(" ".join(words))] if words else []


def plural(noun: str) -> str:
    """The plural of a noun: star -> stars, cross -> crosses."""
    return f"{noun}es" if noun.endswith(("s", "x", "h")) else f"{noun}s"


def wordings() -> list[str]:
    """Every piece of text that a caption can contain. The vocabulary is made from their words."""
    named = [name for names in THINGS.values() for name in names]
    counted = [plural(noun) for noun in (*named, *STANDINS, *BARE.values())]
    templates = [template for group in NOUNS.values() for template in group]
    return [
        *OPENINGS, *STANDINS, *GROUNDS, *UNBOUND_COLORS, *UNBOUND_PLACES, *templates, *BARE.values(),
        *TEXTURED, *LAND, *named, *counted, *COLOR_NAMES, *PLACES, *STYLES, *NUMBERS,
        "some many one infrared",
    ]  # fmt: skip
