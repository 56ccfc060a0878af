"""Resolution: it adds to a cell, once, what the suite and this installation determine.

A worker gets a resolved cell and looks nothing up again. So the suite's file and the environment variables
need not be the same where the worker runs.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from bench.access import FEATURES, LANGUAGE_MODEL, WHITE_BOX, answered, needed, runs_on, sent, takes
from bench.answered import parse
from bench.cell import ELSEWHERE, Cell, Value
from bench.code import code_hash
from bench.data.card import joint_hash, load_card
from bench.declared import declared
from bench.errors import UserError
from bench.params import as_values, make_params
from bench.plugins import load_method, method_hash
from bench.precision import in_force
from bench.record import Hashes, Record
from bench.remote import TAKES, Endpoint
from bench.suite import Suite, load_suite

if TYPE_CHECKING:
    from bench.method import Method

V = TypeVar("V")


@dataclass(frozen=True)
class Resolved:
    """A cell and everything that it depends on, except for what needs a loaded model or image."""

    cell: Cell
    params: Mapping[str, Value]  # the values in force
    targets: tuple[str, ...]  # data sets on which it is scored, if not on its own test set
    hashes: Hashes  # of the method, the cards and the suite
    precision: str = "float32"  # of the model's arithmetic, as in force: see bench/precision.py
    tunes: bool = True  # False: there is nothing to tune, so no query is spent
    access: tuple[str, ...] = ()  # what its method declares (see bench.access.ACCESS)
    endpoint: Endpoint | None = None  # what is asked, where that is not a model of this process

    @property
    def queries(self) -> int:
        """The queries that the cell may spend."""
        return self.cell.budget if self.tunes else 0

    @property
    def model(self) -> str | None:
        """The language model that its method asks; "" if none is named, None if the method asks none."""
        return str(self.params["model"]) if LANGUAGE_MODEL in self.access else None

    @property
    def encoder(self) -> str | None:
        """The image encoder that its method needs; None if it needs none."""
        name = self.params.get("encoder")
        return None if name is None else str(name)


def resolve(
    cells: Iterable[Cell], suite: Suite, precision: str | None = None, endpoint: Endpoint | None = None
) -> list[Resolved]:
    """The resolved cells of one suite. precision: None means the suite's. endpoint: of these cells.

    Raises UserError for unknown names and for values that do not fit.
    """
    precision = precision or suite.precision
    params: dict[tuple[Any, ...], Mapping[str, Value]] = {}
    targets: dict[tuple[str, str], tuple[tuple[str, ...], str]] = {}
    methods: dict[str, tuple[str, bool, tuple[str, ...], str]] = {}
    asked: dict[tuple[Any, ...], str | None] = {}
    code = code_hash()
    found = []
    for cell in cells:
        if cell.method not in methods:
            cls = load_method(cell.method)
            exact = in_force(precision, cls.access, cls.difference_bits)
            methods[cell.method] = method_hash(cell.method), cls.tunes(), tuple(cls.access), exact
        if (row := (cell.method, cell.dataset, cell.overrides)) not in params:
            params[row] = as_values(params_in_force(suite, *row))
        if (ask := (*row, cell.answers)) not in asked:
            asked[ask] = misfit(suite, cell.method, cell.answers, cell.dataset, cell.overrides, endpoint)
        if (place := (cell.protocol, cell.dataset)) not in targets:
            names = suite.tests(*place)
            targets[place] = names, card_hash(cell.dataset, names)
        method, tunes, access, exact = methods[cell.method]
        scored_on, card = targets[place]
        hashes = Hashes(method, card, suite=suite.hash, code=code)
        found.append(Resolved(cell, params[row], scored_on, hashes, exact, tunes, access, endpoint))
    if faults := dict.fromkeys(why for why in asked.values() if why):
        raise UserError("\n".join(faults))
    return found


def misfit(
    suite: Suite,
    method: str,
    answers: str,
    dataset: str = "",
    overrides: Iterable[tuple[str, Value]] = (),
    endpoint: Endpoint | None = None,
) -> str | None:
    """Why a method cannot work with such answers, in one line; None if it can. Raises UserError."""
    cls, level = load_method(method), parse(answers)
    least = cls.needs(params_in_force(suite, method, dataset, overrides))
    if endpoint is not None and not takes(TAKES, cls.access):
        return _unsendable(method, cls.access, least, endpoint)
    if endpoint is not None and not endpoint.level.covers(level):
        return (
            f"{endpoint.url} answers with {endpoint.level}, and --answers {level} asks for more: "
            f"give --answers {endpoint.level}."
        )
    if level.grants(least):
        return None
    read = answered(cls.access, least)
    return f"{method} reads {read}, but --answers {level} does not grant that: leave the method out."


def needs_of(method: str, params: Mapping[str, Value], access: Iterable[str]) -> str:
    """The least kind of answer that a record's method needs, with the record's parameters.

    If this installation does not have the method, or not with these parameters, the access decides. The
    method's code is run only if its file does not simply name the answer.
    """
    least = declared(method).least_answer
    if least is not None:
        return needed(tuple(access), least)
    try:
        return load_method(method).needs(make_params(method, params))
    except UserError:
        return needed(tuple(access))


def _unsendable(method: str, access: tuple[str, ...], least: str, endpoint: Endpoint) -> str:
    """Why an endpoint cannot be asked what a method asks, in one line."""
    what = f"sends {sent(access)}"
    if WHITE_BOX in access or FEATURES in access:
        what = f"reads {answered(access, least)}"
    where = ", ".join(runs_on(access, least))
    return (
        f"{method} {what}, which runs on: {where}. {endpoint.url} takes words and pixels and gives answers "
        "alone: leave the method out."
    )


def resolve_record(record: Record) -> Resolved:
    """The resolved cell of a record, with the record's own parameters and targets instead of the suite's.

    A record without targets gets those of the suite with its name. Raises UserError.
    """
    cell = record.cell
    targets = record.targets
    if not targets and cell.protocol in ELSEWHERE:
        targets = load_suite(cell.suite).tests(cell.protocol, cell.dataset)
    precision = record.run.precision or "float32"
    return Resolved(cell, record.params, targets, record.hashes, precision, access=record.access)


def params_in_force(
    suite: Suite, method: str, dataset: str, overrides: Iterable[tuple[str, Value]] = ()
) -> Any:
    """The method's defaults, replaced by the suite's values (for all data sets, then for this one), and these
    by the overrides. Raises UserError."""
    known = {f.name for f in fields(load_method(method).Params)}
    encoder: dict[str, Value] = {"encoder": suite.encoder} if "encoder" in known else {}
    return make_params(method, encoder, *suite.values(method, dataset), dict(overrides))


def card_hash(dataset: str, targets: tuple[str, ...]) -> str:
    """sha256 of the cards of all data sets of a cell. Raises UserError."""
    return joint_hash(load_card(name).hash for name in targets or (dataset,))


@dataclass(frozen=True)
class Known:
    """What this installation knows of a record's cell. None, and "" in the hashes: it does not know that."""

    hashes: Hashes
    about: Mapping[str, Any] | None = None  # see `described`
    tunes: bool = True
    params: Mapping[str, Value] | None = None  # the values in force
    misfit: str = ""  # why the cell's overrides do not fit its method
    targets: tuple[str, ...] | None = None


def known_of(record: Record) -> Known:
    """What this installation knows of a record's cell, from its method, its suite and its cards."""
    cell = record.cell
    cls, suite = _or_none(lambda: load_method(cell.method)), _or_none(lambda: load_suite(cell.suite))
    method = _or_none(lambda: method_hash(cell.method)) or ""
    card = _or_none(lambda: card_hash(cell.dataset, resolve_record(record).targets)) or ""
    known = Known(Hashes(method, card, suite="" if suite is None else suite.hash, code=code_hash()))
    if cls is not None:
        known = replace(known, about=described(cls), tunes=cls.tunes())
    if suite is not None:
        known = replace(known, targets=_or_none(lambda: suite.tests(cell.protocol, cell.dataset)))
    if cls is None or suite is None:
        return known
    try:
        params = as_values(params_in_force(suite, cell.method, cell.dataset, cell.overrides))
    except UserError as error:
        return replace(known, misfit=str(error))
    return replace(known, params=params)


def _or_none(look_up: Callable[[], V]) -> V | None:
    try:
        return look_up()
    except UserError:
        return None


def described(cls: "type[Method]") -> dict[str, Any]:
    """The fields of a record that describe the method's class. They are read before the method runs."""
    access = tuple(cls.access)
    return {
        "title": cls.title,
        "access": access,
        "white_box": WHITE_BOX in access,
        "schedule": cls.schedule,
    }
