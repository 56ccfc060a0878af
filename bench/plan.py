"""From options to cells: what the user asks for, the checks before any query, and what is already done."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from bench import checks
from bench.access import LANGUAGE_MODEL
from bench.answered import DEFAULT, parse
from bench.cell import Cell, Value, grid
from bench.data.images import View
from bench.errors import NotHere, UserError, brief, did_you_mean
from bench.isolation import unchanged
from bench.lab import Lab, Settings, open_task
from bench.params import parse_value
from bench.plugins import DATASETS, METHODS, load_method
from bench.remote import Endpoint, Wiring
from bench.report.order import full_name
from bench.resolve import Resolved, params_in_force
from bench.runner import expected, prepare
from bench.store import Status, Store
from bench.suite import Suite

Override = tuple[str, Value]


@dataclass(frozen=True)
class Plan:
    """All cells that the user asks for, resolved, and the status of each cell."""

    cells: tuple[Resolved, ...]
    status: Mapping[Cell, Status]

    def todo(self, retry_stale: bool) -> list[Resolved]:
        """The cells to run: those that are not done. Stale cells are included if `retry_stale`."""
        kept = {"done"} if retry_stale else {"done", "stale"}
        return [one for one in self.cells if self.status[one.cell] not in kept]

    def rows(self) -> list[tuple[str, int, int, Counter[Status]]]:
        """(method with its variant and answers, cells, queries, cells by status) for each row of the plan."""
        rows: dict[str, list[Resolved]] = {}
        for one in self.cells:
            name = ", ".join(filter(None, (one.cell.row, one.cell.wire)))
            rows.setdefault(name, []).append(one)
        return [
            (name, len(cells), queries(cells), Counter(self.status[one.cell] for one in cells))
            for name, cells in rows.items()
        ]


def queries(cells: Sequence[Resolved]) -> int:
    """The queries that these cells may spend: the sum of the budgets of those with something to tune."""
    return sum(one.queries for one in cells)


def make_plan(cells: Sequence[Resolved], store: Store, lab: Lab | None = None) -> Plan:
    """Look up each cell's record in the store. With a lab, split and weights are compared, too."""
    return Plan(tuple(cells), {one.cell: store.status(one.cell, expected(one, lab)) for one in cells})


def make_cells(
    suite: Suite,
    methods: Sequence[str],
    *,
    protocol: str = "few-shot",
    datasets: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    budgets: Sequence[int] | None = None,
    shots: Sequence[int] | None = None,
    backbone: str | None = None,
    score: str = "test",
    answers: Sequence[str] = (DEFAULT,),
    pixels_8bit: bool = False,
    endpoint: Endpoint | None = None,
    overrides: Sequence[str] = (),
) -> list[Cell]:
    """The grid of cells, with the suite's values where none are given. Raises UserError for a wrong value."""
    names = named(methods)
    for label, values in (("budget", budgets), ("shots", shots)):
        if values and min(values) < 1:
            raise UserError(f"--{label} {min(values)}: must be at least 1.")
    if backbone is not None and not backbone.strip():
        raise UserError("--backbone is empty: name a model, e.g. mini, or leave the option out.")
    for name in suite.methods:  # all of them: a wrong value is said at once
        if name in names or not cannot_load(name):
            for place in ("", *suite.datasets):
                params_in_force(suite, name, place)
    source = suite.source(protocol)
    if source and datasets:
        raise UserError(f"--protocol {protocol} tunes on the suite's source {source}: leave --datasets out.")
    datasets = [in_full(suite, name) for name in datasets or ()]
    variants = parse_variants(suite, names, overrides)
    levels = tuple(dict.fromkeys(str(parse(one)) for one in answers))
    return [
        cell
        for level in levels
        for n in shots or (suite.shots,)
        for cell in grid(
            names,
            datasets or ((source,) if source else suite.datasets),
            seeds or suite.seeds[:1],
            budgets or (suite.budget,),
            variants,
            suite=suite.name,
            protocol=protocol,
            backbone=endpoint.name if endpoint else backbone or suite.backbone,
            shots=n,
            batch_size=suite.batch_size,
            augment=suite.augment,
            score=score,
            answers=level,
            # pixels over the wire are bytes
            pixels_8bit=pixels_8bit or endpoint is not None,
            endpoint=endpoint.place if endpoint else "",
        )
    ]


def in_full(suite: Suite, dataset: str) -> str:
    """The card that a data set's name means: 'colors' is 'mini-colors', as tables head it.

    The suite's own data sets come first. Raises UserError for a name that can mean several others.
    """
    known = DATASETS.found()
    if dataset in known:
        return dataset
    found = full_name(dataset, [(suite.name, name) for name in suite.datasets])
    return found if found in known else full_name(dataset, [(name.partition("-")[0], name) for name in known])


def named(methods: Sequence[str], leave_out: Callable[[str], object] = lambda why: None) -> list[str]:
    """The names of the methods. "all" stands for all methods, except those that ask a language model.

    leave_out: gets one line for each file that "all" cannot mean, because it is broken or its name is taken.
    """
    if "all" not in methods:
        return list(methods)
    every = set(methods) - {"all"}
    for name in METHODS.found():
        if why := cannot_load(name):
            leave_out(why)
        elif LANGUAGE_MODEL not in load_method(name).access:
            every.add(name)
    return sorted(every)


def cannot_load(name: str) -> str:
    """Why a method cannot be loaded, in one line; "" if it can."""
    try:
        load_method(name)
    except UserError as error:
        return str(error)
    return ""


def parse_variants(
    suite: Suite, methods: Sequence[str], given: Sequence[str]
) -> dict[str, list[tuple[Override, ...]]]:
    """['zip.rank=1,5', 'zip.clip=none'] -> {'zip': [((rank, 1), (clip, none)), ((rank, 5), (clip, none))]}.

    A value that is already in force in the suite is not an override: that row is the method itself.
    """
    choices: dict[str, dict[str, list[Value]]] = {}
    for text in given:
        left, equals, values = text.partition("=")
        method, dot, name = left.partition(".")
        if not (equals and dot and method and name and values):
            raise UserError(f"--set {brief(text)}: write METHOD.NAME=VALUE[,VALUE], e.g. zip.rank=1,5.")
        if method not in methods:
            raise UserError(
                f"--set {brief(text)}: {method!r} is not one of --methods. {did_you_mean(method, methods)}"
            )
        parsed = [parse_value(method, name, value) for value in values.split(",")]
        choices.setdefault(method, {}).setdefault(name, []).extend(parsed)
    variants: dict[str, list[tuple[Override, ...]]] = {}
    for method in methods:
        places = ("", *suite.datasets)
        in_force = [params_in_force(suite, method, place) for place in places]  # raises for an unknown method
        sets = choices.get(method, {})
        rows = [
            tuple((n, v) for n, v in zip(sets, row, strict=True) if any(v != getattr(p, n) for p in in_force))
            for row in product(*sets.values())
        ]
        variants[method] = list(dict.fromkeys(rows))
        for row, place in product(rows, places):
            params_in_force(suite, method, place, row)
    return variants


@dataclass(frozen=True)
class Checked:
    """What a look at all input found."""

    lab: Lab | None  # what was loaded; None unless all of it could be
    notes: tuple[str, ...]  # what a reader of the results has to know
    absent: tuple[str, ...] = ()  # what the run itself will fetch first
    faults: tuple[UserError, ...] = ()  # what is wrong


def check_inputs(cells: Sequence[Resolved], settings: Settings) -> tuple[Lab, tuple[str, ...]]:
    """Load every model and open every data set once, in this process. This fills the workers' caches, too.

    Returns what was loaded, and what a reader of the results has to know. Raises one UserError that names all
    that is missing, before any query is spent.
    """
    lab = Lab(replace(settings, device="cpu"))  # a GPU's memory is the workers'
    found, notes = find_faults(cells, lab)
    refuse(found)
    return lab, tuple(notes)


def check_without_fetching(cells: Sequence[Resolved], settings: Settings) -> Checked:
    """`check_inputs` for a dry run, which downloads nothing and raises nothing."""
    # a store in memory: a dry run leaves nothing behind
    lab = Lab(replace(settings, device="cpu", offline=True, wiring=Wiring()))
    found, notes = find_faults(cells, lab)
    absent = [fault for fault in found if isinstance(fault, NotHere) and not settings.offline]
    faults = tuple(fault for fault in found if fault not in absent)
    return Checked(None if found else lab, tuple(notes), tuple(fault.what for fault in absent), faults)


def refuse(faults: Sequence[UserError]) -> None:
    """Raise all faults as one UserError, if there are any."""
    if faults:
        raise UserError("\n".join(map(str, faults)))


def find_faults(cells: Sequence[Resolved], lab: Lab) -> tuple[list[UserError], list[str]]:
    """All faults that prevent these cells from running, each once, and notes for readers of the results."""
    faults: dict[str, UserError] = {}
    notes: dict[str, None] = {}

    def attempt(load: Callable[[], object]) -> bool:
        try:
            load()
        except UserError as error:
            faults[str(error)] = error
            return False
        return True

    models = {(one.cell.backbone, one.cell.endpoint): one for one in cells}
    ready = {name: bool(one.endpoint) or attempt(partial(lab.backbone, one)) for name, one in models.items()}
    for name, precision in {(one.encoder, one.precision) for one in cells}:
        if name is not None:
            attempt(partial(lab.encoder, name, precision))
    places = {
        (c.dataset, c.protocol, c.shots, c.score, c.backbone, c.endpoint): one
        for one in cells
        for c in [one.cell]
    }
    for one in places.values():
        if ready[one.cell.backbone, one.cell.endpoint]:
            if attempt(partial(lab.task, one)):
                lab.split_hash(one)  # now, while the task is loaded, because the plan needs this hash
                task, model = lab.task(one), None if one.endpoint else lab.backbone(one)
                faults.update((line, UserError(line)) for line in checks.faults(task, model))
                notes.update(dict.fromkeys(checks.notes(task, model, one.cell.shots)))
        else:  # the model's image size is not known, but the data can be checked with any size
            attempt(partial(open_task, one, lab.settings, View(224)))
    if not faults:
        variants = {(one.cell.method, one.cell.overrides): one for one in cells if one.cell.overrides}
        for one in variants.values():
            attempt(partial(try_out, one, lab))
    return list(faults.values()), list(notes)


def check_chats(cells: Sequence[Resolved], settings: Settings, ask: bool) -> None:
    """Raise one UserError with all faults that prevent these cells from asking their language models.

    ask: ask the endpoint once per model whether it serves the model. Otherwise nothing is sent.
    """
    from bench import endpoint

    check = endpoint.check_model if ask else endpoint.converse
    faults: dict[str, UserError] = {}
    asking = [one for one in cells if one.model is not None]
    # An endpoint is checked once per model. A folder of transcripts is checked for every cell.
    if not settings.chat.replay:
        asking = list({(one.cell.method, one.model): one for one in asking}.values())
    for one in asking:
        try:
            check(one.cell, str(one.model), settings.chat)
        except UserError as error:
            faults[str(error)] = error
    refuse(list(faults.values()))


def probe_endpoints(cells: Sequence[Resolved], lab: Lab) -> list[str]:
    """Look at what each endpoint grants, before any query, in words. Raises UserError where it is too little.

    This asks, and costs what four requests about one image cost, at most.
    """
    asked = {(one.endpoint.place, one.cell.answers): one for one in cells if one.endpoint is not None}
    return list(dict.fromkeys(f"{place}: {lab.probe(one)}." for (place, _), one in asked.items()))


def try_out(resolved: Resolved, lab: Lab) -> None:
    """Set up a variant, which costs no query. Raises UserError if its values do not fit together."""
    cell = resolved.cell
    try:
        with unchanged(f"{cell.method}: while it was set up with {cell.variant},"):
            prepare(resolved, lab)
    except UserError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{cell.method} cannot be set up with {cell.variant} ({why}): give --set another value."
        ) from error
