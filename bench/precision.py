"""The arithmetic of a model, by name: "float32", "float64", or the parts that are shorter than float32.

The parts shorten the linear layers only. The residual stream and the layer norms stay in the model's type.

    fp16-text     text layers in float16
    bf16-images   image layers in bfloat16, for images that no prompt changes
    fp16-pixels   image layers in float16, for images that a prompt changes, where the method allows it
    fp16-scores   image layers in float16, for scoring the prompts of all checkpoints but the last
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from bench.access import ACCESS
from bench.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Precision:
    """The names of torch's types: of the model, and of the linear layers for one use each.

    text: of the text tower. kept: for images that no prompt changes. moved: for images that a prompt changes,
    by pixels or visual tokens. scored: the same, while the prompt of an earlier checkpoint is scored.
    """

    model: str = "float32"
    text: str = "float32"
    kept: str = "float32"
    moved: str = "float32"
    scored: str = "float32"


PLAIN = {"float32": Precision(), "float64": Precision(*["float64"] * 5)}
PARTS = {
    "fp16-text": ("text", "float16"),
    "bf16-images": ("kept", "bfloat16"),
    "fp16-pixels": ("moved", "float16"),
    "fp16-scores": ("scored", "float16"),
}
FLOAT16_BITS = 11  # the significant bits of a float16 number
MOVED = frozenset({ACCESS["pixels"], ACCESS["tokens"]})  # the access with which a prompt changes images


def types_of(name: str) -> Precision:
    """The types of this arithmetic. Raises UserError for a name that does not exist."""
    if name in PLAIN:
        return PLAIN[name]
    types = replace(PLAIN["float32"], **dict(PARTS[part] for part in _parts(name)))
    return replace(types, scored=types.moved) if types.scored == "float32" else types


def in_force(name: str, access: Collection[str], bits: int) -> str:
    """The arithmetic of a method's cells: this one, without the parts that change nothing or too much for it.

    access: of the method. bits: the significant bits that its differences need (Method.difference_bits).
    Raises UserError for a name that does not exist.
    """
    if name in PLAIN:
        return name
    parts = _parts(name)
    if not MOVED & set(access) or bits > FLOAT16_BITS:
        parts = [part for part in parts if part != "fp16-pixels"]
    if not MOVED & set(access) or "fp16-pixels" in parts:
        parts = [part for part in parts if part != "fp16-scores"]
    return "+".join(parts) or "float32"


def _parts(name: str) -> list[str]:
    """The parts of a name, in the usual order. Raises UserError."""
    given = name.split("+")
    for part in given:
        if part not in PARTS:
            known = [*PLAIN, *PARTS]
            raise UserError(
                f"no precision {part!r}. {did_you_mean(part, known)} Parts are joined with +, e.g. "
                f"{'+'.join(list(PARTS)[:2])}."
            )
    return [part for part in PARTS if part in given]
