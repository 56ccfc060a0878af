"""Kinds of findings: lines that differ only in their file, their numbers and their names are of one kind."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bench.words import counted

VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\S*\.json\b|[-+]?\b\d[\d.,e+-]*\b")  # quoted names, files, numbers


def kind_of(finding: str) -> str:
    """What a line says of its file, with dots for what differs from file to file."""
    first, _, rest = finding.partition(": ")
    said = rest if first.endswith(".json") else first
    return VARYING.sub("…", said)


@dataclass
class Told:
    """Tells findings as they come, at most `most` lines of a kind. most: None tells all of them."""

    tell: Callable[[str], object]
    most: int | None
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, finding: str) -> None:
        """Tell one finding, unless enough of its kind were told."""
        kind = kind_of(finding)
        self.kinds[kind] += 1
        if self.most is None or self.kinds[kind] <= self.most:
            self.tell(finding)

    def summary(self) -> Iterator[str]:
        """One line for each kind, the most frequent first, and one for what was not told."""
        if len(self.kinds) > 1 or self.untold:
            width = len(f"{max(self.kinds.values(), default=0):,}")
            for kind, count in self.kinds.most_common():
                yield f"{count:>{width},} x {kind}"
        if self.untold:
            yield f"{counted(self.untold, 'line')} not shown: --all shows every line"

    @property
    def untold(self) -> int:
        """The number of findings that were counted and not told."""
        return 0 if self.most is None else sum(max(n - self.most, 0) for n in self.kinds.values())
