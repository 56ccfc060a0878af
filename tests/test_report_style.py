"""Looks: any two rows can be told apart, also with another colour vision; a method has one name."""

from itertools import combinations

import numpy as np
import pytest

from bench.plugins import METHODS, load_method
from bench.report.style import COLOURS, KNOWN, MANY, MARKERS, OTHERS, Look, focused, looks, outline

# Of linear RGB, for severity 1: Machado, Oliveira, Fernandes. A physiologically-based model for simulation of
# color vision deficiency. IEEE TVCG 15(6), 2009, table 1.
VISION = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
# Linear sRGB to CIE XYZ (D65), IEC 61966-2-1.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
APART = 12  # of the CIE 1976 colour difference
PAPERS = ("zip", "blackvip", "craft", "bar", "bptvlm", "bbt", "cbbt", "vp")


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(colour: str, vision: str) -> np.ndarray:
    seen = np.clip(VISION[vision] @ linear(colour), 0, 1)
    t = XYZ @ seen / XYZ.sum(axis=1)
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(a: str, b: str, vision: str) -> float:
    return float(np.linalg.norm(lab(a, vision) - lab(b, vision)))


def contrast(a: str, b: str) -> float:
    """The contrast ratio of WCAG 2."""
    low, high = sorted(float(XYZ[1] @ linear(c)) + 0.05 for c in (a, b))
    return high / low


@pytest.mark.parametrize("vision", VISION)
def test_two_colours_differ_for_every_colour_vision(vision: str) -> None:
    for a, b in combinations(COLOURS, 2):
        assert distance(a, b, vision) >= APART, (a, b)


@pytest.mark.parametrize("colour", COLOURS)
def test_a_colour_is_legible_on_a_light_and_on_a_dark_page(colour: str) -> None:
    assert contrast(colour, "#FFFFFF") >= 3 and contrast(colour, "#17171B") >= 3


def test_the_hand_template_has_a_marker_of_its_own() -> None:
    assert looks([("manual", "")])["manual", ""].marker not in MARKERS


def test_any_two_methods_differ_in_marker_or_colour_and_in_dash_or_colour() -> None:
    rows = [(name, "") for name in (*METHODS.files(), *(f"new{i}" for i in range(8)))]
    found = looks(rows)
    for a, b in combinations(found.values(), 2):
        assert (a.marker, a.colour) != (b.marker, b.colour)
        assert (a.dash, a.colour) != (b.dash, b.colour)
    assert len({found[name, ""].colour for name in PAPERS}) == len(PAPERS)


def test_a_known_method_keeps_its_look_and_a_new_one_takes_none_of_those_shown() -> None:
    alone = looks([("zip", "")])["zip", ""]
    shown = looks([("openes", ""), ("mine", ""), ("zip", ""), ("other", "")])
    assert shown["zip", ""] == alone
    assert len({one.colour for one in shown.values()}) == len(shown)
    assert looks(reversed([*shown])) == shown


def test_variants_keep_the_colour_and_differ_in_dash_and_marker() -> None:
    found = looks([("zip", ""), *(("zip", f"rank={n}") for n in (1, 2, 10))])
    assert len({one.colour for one in found.values()}) == 1
    assert len({one.dash for one in found.values()}) == len({one.marker for one in found.values()}) == 4
    many = looks([("zip", f"rank={n}") for n in range(20)])
    assert len({(one.colour, one.dash) for one in many.values()}) == 20


def test_slots_are_distinct_and_names_are_those_of_the_methods_files() -> None:
    slots = [known.slot for known in KNOWN.values()]
    assert len(set(slots)) == len(slots)
    for name in METHODS.files():
        if name in KNOWN:
            assert KNOWN[name].title == load_method(name).title


def test_with_many_rows_only_the_asked_and_the_best_are_in_colour() -> None:
    rows = {f"m{i:02}": Look(f"m{i:02}", COLOURS[0], "o") for i in range(13)}
    average = {row: float(i) for i, row in enumerate(rows)}
    found = focused(rows, average, ["m00"])
    assert {row for row, one in found.items() if one is not OTHERS} == {"m00", *list(rows)[-MANY + 1 :]}
    assert next(iter(found)) == "m01"  # the grey ones are drawn first
    assert focused(dict(list(rows.items())[:MANY]), dict(list(average.items())[:MANY])) == dict(
        list(rows.items())[:MANY]
    )


def test_markers_have_different_outlines() -> None:
    assert len({outline(marker) for marker in MARKERS}) == len(MARKERS)
