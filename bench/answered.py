"""How much of its logits an API returns: all logits, probabilities, the best few classes, or the label alone.

A coarser answer has the same shape: log-probabilities of all classes. So a method, a head and the scorer read
it in the same way. bench/coarse.py fills in what an API does not return:

    logits    the model's logits
    probs     log-probabilities
    probs:D   probabilities rounded to D decimals; one that is rounded to 0 counts as 0.5 * 10^-D
    top:K     the K largest probabilities; the other classes share the rest equally, each at least 10^-6
    label     the best class alone: it counts as 0.99, and the others share 0.01 equally

Equal numbers are ordered by their class. bench/access.py lists which real APIs return which kind.
"""

from dataclasses import dataclass

from bench.errors import UserError

KINDS = ("label", "top", "probs", "logits")  # from the least to the most
DEFAULT = "logits"
FORMS = "logits, probs, probs:D (decimals), top:K (classes) or label"
DECIMALS = 12  # the largest D of probs:D: more decimals would be finer than the step of the logits


@dataclass(frozen=True)
class Level:
    """How much of the logits is returned. kind: one of KINDS. number: D of probs:D, K of top:K, else None."""

    kind: str
    number: int | None = None

    def __str__(self) -> str:
        return self.kind if self.number is None else f"{self.kind}:{self.number}"

    @property
    def fineness(self) -> tuple[int, int]:
        """A sort key: from the coarsest answers to the finest, e.g. label, top:3, probs:2, probs, logits."""
        return KINDS.index(self.kind), 10**9 if self.number is None else self.number

    def grants(self, needed: str) -> bool:
        """Whether a method that needs this kind of answer can work with this level."""
        return KINDS.index(self.kind) >= KINDS.index(needed)

    def covers(self, other: "Level") -> bool:
        """Whether answers of this level can be cut down to the other one, decimals and classes included."""
        if self.kind == other.kind:
            return self.number is None or (other.number is not None and other.number <= self.number)
        # rounded probabilities may be equal where the best K of the model's own are not
        return self.grants(other.kind) and (self.number is None or other.kind == "label")


def parse(text: str) -> Level:
    """'probs:4' -> Level('probs', 4). Raises UserError if the text is not a level."""
    kind, colon, number = text.partition(":")
    most = {"probs": DECIMALS, "top": 10**6}.get(kind)
    fits = number.isascii() and number.isdigit() and 0 < len(number) < 8 and most and 1 <= int(number) <= most
    if kind in KINDS and not colon and kind != "top":
        return Level(kind)
    if not fits:
        raise UserError(f"--answers {text!r}: write {FORMS}, e.g. probs:4 or top:3; D is at most {DECIMALS}.")
    return Level(kind, int(number))
