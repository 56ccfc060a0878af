"""The work of `bench results verify`: what was read, scored again and run again, told as it goes and kept."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench import __version__
from bench.again import Finding, fresh_lab, rerun, rescore, sample
from bench.commands.report import warn
from bench.commands.run import pick_device
from bench.errors import UserError, did_you_mean
from bench.lab import Lab
from bench.record import Record
from bench.report.kinds import Told
from bench.report.verified import Check, filed, home, read_log, updated, write_log
from bench.report.verify import Found, read
from bench.runner import hardware
from bench.words import counted

LINES = 10  # of one kind of finding, unless all are asked for
Work = Callable[[Path, Record, Lab], Finding]


class Verification:
    """What was found out about the records at a path. A context manager: at its end, the log is written.

    most: lines of one kind of finding that are told; None for all.
    """

    def __init__(self, path: Path, root: Path | None, device: str, by: str, most: int | None = LINES) -> None:
        self.reading = read(path)
        self._root, self._device = root, pick_device(device, local=True, elsewhere=False)
        day = datetime.now(timezone.utc).date().isoformat()
        self._check = Check(day, __version__, hardware(self._device), by)
        files = [file for file, _ in (*self.reading.sound, *self.reading.refused)]
        self._folders = {home(file) for file in files if filed(file)}
        for folder in self._folders:
            read_log(folder)  # a damaged one is said before any work
        self._checked: dict[Path, list[str]] = defaultdict(list)
        self._wrong: set[Path] = set()
        self._counts: dict[str, Counter[str]] = {}
        self.faults = list(self.reading.faults)
        self.unable: list[str] = []
        self._told = Told(click.echo, most)
        for fault in self.faults:
            self._told.add(fault)

    @cached_property
    def lab(self) -> Lab:
        """The models and data of this process."""
        return fresh_lab(self._root, self._device)

    def __enter__(self) -> "Verification":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the logs, also after Ctrl-C: what was verified until then is kept."""
        for folder in self._folders:
            here = [one for one in self.reading.sound if _in(folder, one[0])]
            passed = [
                (record, ["read", *self._checked[file]]) for file, record in here if file not in self._wrong
            ]
            refused = [record for file, record in here if file in self._wrong]
            refused += [record for file, record in self.reading.refused if _in(folder, file)]
            try:
                log = read_log(folder)  # again: another process may have written it meanwhile
                new = updated(log, passed, refused, self._check)
                if new != log:
                    write_log(folder, new)
            except UserError as failed:
                warn(str(failed))

    # Work

    def replay(self) -> None:
        """Run again, from their transcripts, the cells whose methods asked a language model."""
        asked = [(file, record) for file, record in self.reading.sound if record.chat is not None]
        self._do("rerun", "replayed from transcripts", rerun, asked)

    def rescore(self, chosen: Found) -> None:
        """Score the deployed prompts of these records again."""
        self._do("rescore", "rescored", rescore, chosen)

    def rerun(self, chosen: Found, n: int, seed: int) -> None:
        """Run `n` of these records' cells again."""
        drawn = sample([one for one in chosen if one[1].chat is None], n, seed)
        seconds = sum(record.run.seconds or 0.0 for _, record in drawn)
        took = f"which took {seconds:,.0f} s when they were made"
        click.echo(f"--rerun {n} --seed {seed}: {len(drawn)} of {len(chosen)} cells, {took}:", err=True)
        for _, record in drawn:
            click.echo(f"  {record.cell.path}", err=True)
        self._do("rerun", "rerun", rerun, drawn)

    def _do(self, check: str, word: str, work: Work, found: Found) -> None:
        left = [(file, record) for file, record in found if file not in self._wrong]
        if not found:
            return
        count = self._counts[word] = Counter()
        for finding in _watched(word, work, left, self.lab):
            if finding.unable:
                self.unable.append(f"{finding.file}: cannot be {word} here: {finding.unable}")
                self._told.add(self.unable[-1])
            elif finding.faults:
                self._wrong.add(finding.file)
                self.faults += (lines := [f"{finding.file}: {fault}" for fault in finding.faults])
                for line in lines:
                    self._told.add(line)
            else:
                self._checked[finding.file].append(check)
            count["unable" if finding.unable else "differ" if finding.faults else "agree"] += 1

    # The end

    def summary(self) -> Iterator[str]:
        """What came of it: a line for each kind of finding, and for each kind of check."""
        yield from self._told.summary()
        for word, count in self._counts.items():
            yield (
                f"{count.total()} {word}: {count['agree']} agree, {count['differ']} differ, "
                f"{count['unable']} cannot be {word} here"
            )
        n, end = self.reading.files, "fit for the leaderboard"
        if self.faults:
            end = counted(len(self.faults), "fault")
        elif self.unable:
            end = "no fault, but not all could be checked here"
        yield f"{counted(n, 'record')}: {end}"

    @property
    def exit_code(self) -> int:
        """See `bench results verify --help`."""
        return 1 if self.faults else 3 if self.unable else 0


def _in(folder: Path, file: Path) -> bool:
    return filed(file) and home(file) == folder


def select(found: Found, methods: Collection[str] | None, datasets: Collection[str] | None) -> Found:
    """The records of these methods and data sets; None: of all. Raises UserError for a name without one."""
    for wanted, flag, known in (
        (methods, "--methods", {record.cell.method for _, record in found}),
        (datasets, "--datasets", {record.cell.dataset for _, record in found}),
    ):
        for name in wanted or ():
            if name not in known:
                raise UserError(f"{flag} {name}: no sound record has it. {did_you_mean(name, known)}")
    return [
        (file, record)
        for file, record in found
        if (not methods or record.cell.method in methods)
        and (not datasets or record.cell.dataset in datasets)
    ]


def _watched(word: str, work: Work, found: Sequence[tuple[Path, Record]], lab: Lab) -> Iterator[Finding]:
    """Does the work for each record and shows the progress: a bar in a terminal, else one line for each."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn(word), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(found))
        for i, (file, record) in enumerate(found, 1):
            finding = work(file, record, lab)
            bar.advance(task)
            if not console.is_terminal:
                end = "agrees" if finding.agrees else "cannot be done here" if finding.unable else "differs"
                click.echo(f"[{i}/{len(found)}] {word}: {record.cell.path}: {end}", err=True)
            yield finding
