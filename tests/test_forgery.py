"""Forged records. Each is a genuine record with an edit; reading, scoring again or running again refuses it.

The records are made once, in this process, and one lab does all the scoring.
"""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import mini_cells
from click.testing import CliRunner

from bench.again import Finding, fresh_lab, rerun, rescore, sample
from bench.cell import Cell
from bench.commands.main import main
from bench.errors import UserError
from bench.lab import Lab
from bench.outcome import bits
from bench.record import Record, dump, read
from bench.report import verify
from bench.report.verified import NAME, level, read_log, summed
from bench.resolve import card_hash
from bench.runner import run_cell
from bench.store import Store
from bench.suite import load_suite

METHODS = ("manual", "edits", "head", "zip", "coop")
BUDGET, DATASET = 60, "mini-digits"
Data = dict[str, Any]


@pytest.fixture(scope="module")
def lab() -> Lab:
    return fresh_lab(None)


@pytest.fixture(scope="module")
def genuine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one record of each method, and a second seed of ZIP."""
    store = Store(tmp_path_factory.mktemp("genuine"))
    cells = mini_cells(*METHODS, datasets=[DATASET], budgets=[BUDGET])
    for resolved in [*cells, *mini_cells("zip", datasets=[DATASET], budgets=[BUDGET], seeds=[2])]:
        store.write(run_cell(resolved, lab.settings, lab))
    return store.root


@pytest.fixture(scope="module")
def originals(genuine: Path) -> dict[tuple[str, int], Record]:
    return {(one.cell.method, one.cell.seed): one for one in Store(genuine).records()}


@dataclass(frozen=True)
class Forgery:
    """An edit of the record of a method. check: what refuses it first. says: a part of what is said.

    raw: the file holds the edited data as it is, and not what a reader makes of it.
    alone: the record from which it was made is not beside it.
    """

    name: str
    method: str
    edit: Callable[[Data], None]
    check: str
    says: str
    raw: bool = False
    alone: bool = False

    def put(self, original: Record, folder: Path) -> tuple[Path, Record | None]:
        """Write it as a careful forger does, in the right place and layout. None: it is no record."""
        data = json.loads(dump(original))
        self.edit(data)
        try:
            record = Record.from_json(data)
        except (UserError, ValueError):
            record = None
        path = folder / (original.cell.path if record is None else record.cell.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        careful = record is not None and not self.raw
        path.write_text(dump(record) if careful and record else json.dumps(data).replace("1e+308", "1e400"))
        return path, record


# Edits


def put(*place: Any) -> Callable[[Data], None]:
    """Set a value: put("cell", "seed", 4)."""

    def edit(data: Data) -> None:
        *way, last, value = place
        for name in way:
            data = data[name]
        data[last] = value

    return edit


def times(*place: Any) -> Callable[[Data], None]:
    """Multiply a value, a whole one to a whole one."""

    def edit(data: Data) -> None:
        *way, last, factor = place
        for name in way:
            data = data[name]
        data[last] = type(data[last])(data[last] * factor)

    return edit


def both(*edits: Callable[[Data], None]) -> Callable[[Data], None]:
    def edit(data: Data) -> None:
        for one in edits:
            one(data)

    return edit


def drop(*place: Any) -> Callable[[Data], None]:
    def edit(data: Data) -> None:
        *way, last = place
        for name in way:
            data = data[name]
        del data[last]

    return edit


def share(right: int, data: Data) -> float:
    return round(100 * right / data["n_test"]["test"], 4)


def everywhere_at_the_end(data: Data, value: float) -> None:
    """An accuracy at the end of the run: in the result and in the trace."""
    data["accuracy"]["test"] = value
    spent = data["trace"][-1]["spent"]
    for point in data["trace"]:
        if point["spent"] == spent:
            point["accuracy"]["test"] = value


def whole_but_unmarked(data: Data) -> None:
    everywhere_at_the_end(data, share(data["n_test"]["test"] - 1, data))


def without_outcomes(data: Data) -> None:
    whole_but_unmarked(data)
    data["outcomes"] = {}


def flipped(data: Data, right: bool, n: int, consistent: bool = True) -> None:
    """Turn `n` images from wrong to right, or the other way round, with all that follows from it."""
    found = data["outcomes"]["test"]
    marks = bits(Record.from_json(data).outcomes["test"])
    where = np.flatnonzero(marks != right)[:n]
    marks[where] = right
    found["correct"] = base64.b64encode(np.packbits(marks).tobytes()).decode()
    for _ in range(n if consistent else 0):
        pair = next(
            one
            for one in found["confusions"]
            if one["images"] > 1 and 0 < found["right"][one["label"]] < found["images"][one["label"]]
        )
        pair["images"] += -1 if right else 1
        found["right"][pair["label"]] += 1 if right else -1
        found["confusions"].sort(key=lambda one: (-one["images"], one["label"], one["answered"]))
    if consistent:
        everywhere_at_the_end(data, share(int(marks.sum()), data))


def swapped_bits(data: Data) -> None:
    """Another image is right than was, so that the accuracy stays."""
    found = data["outcomes"]["test"]
    marks = bits(Record.from_json(data).outcomes["test"])
    marks[[np.flatnonzero(marks)[0], np.flatnonzero(~marks)[0]]] ^= True
    found["correct"] = base64.b64encode(np.packbits(marks).tobytes()).decode()


def padded(data: Data) -> None:
    found = data["outcomes"]["test"]
    packed = bytearray(base64.b64decode(found["correct"]))
    packed[-1] |= 1  # 1047 images: the last bit of the last byte stands for none
    found["correct"] = base64.b64encode(packed).decode()


def moved_confusion(data: Data) -> None:
    found = data["outcomes"]["test"]["confusions"]
    taken = {(one["label"], one["answered"]) for one in found}
    for one in found:
        free = [k for k in range(10) if k != one["label"] and (one["label"], k) not in taken]
        if free:
            one["answered"] = free[0]
            found.sort(key=lambda one: (-one["images"], one["label"], one["answered"]))
            return
    raise AssertionError("every confusion occurs")


def numbers(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Data], None]:
    """Change the numbers of the deployed prompt."""

    def edit(data: Data) -> None:
        state = np.frombuffer(base64.b64decode(data["prompt"]["state"]), "<f4").copy()
        data["prompt"]["state"] = base64.b64encode(change(state).astype("<f4").tobytes()).decode()

    return edit


def first(change: Callable[[np.float32], float]) -> Callable[[Data], None]:
    def one(state: np.ndarray) -> np.ndarray:
        state[0] = change(state[0])
        return state

    return numbers(one)


def point(index: int, *place: Any) -> Callable[[Data], None]:
    return put("trace", index, *place)


def another_point(data: Data) -> None:
    data["trace"].insert(3, {**data["trace"][3], "queries": 30, "spent": 30})


def reordered(data: Data) -> None:
    data["trace"][2], data["trace"][3] = data["trace"][3], data["trace"][2]


def longer(data: Data) -> None:
    """A run of 60 queries as one of 500 that ended early."""
    end = data["trace"][-1]
    data["cell"]["budget"] = 500
    del data["trace"][-1]
    more = [{**end, "queries": at, "train_loss": None} for at in (200, 500)]
    data["trace"] += [{**end, "queries": 100}, *more]


def all_images(data: Data) -> None:
    """Fewer images than were sent, at every checkpoint alike: one for each query."""
    for one in data["trace"]:
        one["image_queries"] = one["spent"]
    data["image_queries"] = data["queries"]


def no_tuning(data: Data) -> None:
    """The head as a row that costs nothing."""
    for one in data["trace"]:
        one |= {"spent": 0, "image_queries": 0, "train_loss": None, "accuracy": data["accuracy"]}
    data |= {"queries": 0, "image_queries": 0}


def other_place(data: Data) -> None:
    """The record of another data set, whose card's hash is known to everybody."""
    data["cell"]["dataset"] = "mini-letters"
    data["hashes"]["card"] = card_hash("mini-letters", ())


def coarser(data: Data) -> None:
    data["cell"]["answers"] = "top:3"
    data["outcomes"]["test"] |= {"calibration_error": None, "log_loss": None}


def other_suite(data: Data) -> None:
    data["cell"]["suite"] = "mini-many"
    data["hashes"]["suite"] = load_suite("mini-many").hash


def ranked_coop(data: Data) -> None:
    data |= {"white_box": False, "access": ["text context"]}


SCORES = [
    Forgery("99.9", "zip", put("accuracy", "test", 99.9), "read", "not a whole number of 1047"),
    Forgery("result only", "zip", put("accuracy", "test", 99.9045), "read", "but the trace ends at"),
    Forgery("no bits for it", "zip", whole_but_unmarked, "read", "images are marked correct"),
    Forgery("no outcomes", "zip", without_outcomes, "read", "outcomes is empty"),
    Forgery("20 better", "zip", lambda d: flipped(d, True, 20), "rescore", "accuracy.test"),
    Forgery("20 better, head", "head", lambda d: flipped(d, True, 20), "rescore", "accuracy.test"),
    Forgery("one better", "coop", lambda d: flipped(d, True, 1), "rescore", "accuracy.test"),
    Forgery("one worse", "manual", lambda d: flipped(d, False, 1), "rescore", "accuracy.test"),
    Forgery("start", "zip", point(0, "accuracy", "test", share(1, {"n_test": {"test": 1047}})), "rescore",
            "trace[0].accuracy.test"),
    Forgery("start of none", "manual", point(0, "accuracy", "test", 0.0), "read", "no query was spent"),
    Forgery("250 midway", "zip", point(2, "accuracy", "test", 250.0), "read", "must be between 0 and 100"),
    Forgery("inf midway", "zip", point(2, "accuracy", "test", 1e308), "read", "", raw=True),
    Forgery("nan midway", "zip", point(2, "accuracy", "test", float("nan")), "read", ""),
    Forgery("-1 midway", "zip", point(2, "accuracy", "test", -1.0), "read", "must be between 0 and 100"),
    Forgery("55.5 midway", "zip", point(2, "accuracy", "test", 55.5), "read", "checkpoint 20 is 55.5 %"),
    Forgery("midway", "zip", point(2, "accuracy", "test", 0.0955), "rerun", "trace[2].accuracy.test"),
    Forgery("bits swapped", "zip", swapped_bits, "rescore", "outcomes.test.correct"),
    Forgery("bits swapped, manual", "manual", swapped_bits, "rescore", "outcomes.test.correct"),
    Forgery("bits added", "zip", lambda d: flipped(d, True, 3, consistent=False), "read", "marked correct"),
    Forgery("bits of nothing", "zip", padded, "read", "images that the test set does not have"),
    Forgery("class", "zip", times("outcomes", "test", "right", 0, 0), "read", "the classes sum up to"),
    Forgery("confusion", "head", moved_confusion, "rescore", "outcomes.test.confusions"),
    Forgery("calibration", "zip", times("outcomes", "test", "calibration_error", 0.5), "rescore",
            "outcomes.test.calibration_error"),
    Forgery("log loss", "zip", times("outcomes", "test", "log_loss", 0.9), "rescore", "test.log_loss"),
    Forgery("no calibration", "zip", put("outcomes", "test", "log_loss", None), "read", "is missing"),
    Forgery("fewer images", "zip", put("n_test", "test", 349), "read", "n_test says 349"),
    Forgery("more tests", "zip", put("n_test", "other", 9), "read", "n_test names other"),
    Forgery("train images", "zip", put("n_train", 16), "rescore", "n_train 160"),
]  # fmt: skip
PROMPTS = [
    Forgery("removed", "zip", put("prompt", "state", None), "read", "the deployed prompt is missing"),
    Forgery("words removed", "edits", put("prompt", "template", None), "rescore", "accuracy.test"),
    Forgery("a number", "zip", first(lambda x: float(x) + 1), "rescore", "outcomes.test"),
    Forgery("a last bit", "zip", first(lambda x: np.nextafter(x, np.float32(9))), "rerun", "prompt.state"),
    Forgery("a number, head", "head", first(lambda x: float(x) + 0.01), "rescore", "outcomes.test"),
    Forgery("nan", "zip", first(lambda x: float("nan")), "read", "finite float32"),
    Forgery("huge", "zip", first(lambda x: 1e38), "rescore", ""),
    Forgery("negated", "coop", numbers(lambda x: -x), "rescore", "accuracy.test"),
    Forgery("shorter", "zip", numbers(lambda x: x[:-1]), "rescore", "cannot be built and scored again"),
    Forgery("longer", "head", numbers(lambda x: np.append(x, x)), "rescore", ""),
    Forgery("no base64", "zip", put("prompt", "state", "?"), "read", "in base64"),
    Forgery("words", "edits", put("prompt", "template", "a {}."), "rescore", "outcomes.test"),
    Forgery("words for ZIP", "zip", put("prompt", "template", "an image of a {}."), "rescore", ""),
    Forgery("words for none", "manual", put("prompt", "template", "an image of a {}."), "rescore", ""),
    Forgery("free to deploy", "zip", put("deploy_queries", 0), "rescore", "deploy_queries 1"),
    Forgery("dear to deploy", "manual", put("deploy_queries", 7), "rescore", "deploy_queries 1"),
]  # fmt: skip
HASHES = [
    Forgery(f"hash of {name}", method, put("hashes", name, "0" * 64), check, says)
    for name, method, check, says in (
        ("method", "zip", "read", "another version of method 'zip'"),
        ("card", "zip", "read", "another version of card 'mini-digits'"),
        ("suite", "zip", "read", "another version of suite 'mini'"),
        ("code", "zip", "read", "another version of bench's code"),
        ("split", "zip", "read", "hashes.split is not that of the other records"),
        ("weights", "zip", "read", "hashes.weights is not that of the other records"),
    )
] + [
    Forgery("no split", "zip", put("hashes", "split", ""), "read", "hashes.split is missing"),
    Forgery("no weights", "zip", put("hashes", "weights", ""), "read", "hashes.weights is missing"),
]
CELLS = [
    Forgery("seed 1 as 4", "zip", put("cell", "seed", 4), "read", "it has the train losses of"),
    Forgery("head's seed 1 as 4", "head", put("cell", "seed", 4), "read", "it has the train losses of"),
    Forgery("seed 1 as 4, alone", "zip", put("cell", "seed", 4), "rescore", "accuracy.test", alone=True),
    Forgery("head's, alone", "head", put("cell", "seed", 4), "rerun", "trace[1]", alone=True),
    Forgery("edits', alone", "edits", put("cell", "seed", 4), "rerun", "trace[1]", alone=True),
    Forgery("data set", "zip", put("cell", "dataset", "mini-letters"), "read", "another version of card"),
    Forgery("data set with card", "zip", other_place, "read", "it has the train losses of"),
    Forgery("data set, alone", "zip", other_place, "rescore", "hashes.split", alone=True),
    Forgery("shots", "head", put("cell", "shots", 8), "rescore", "n_train 80"),
    Forgery("images per query", "head", put("cell", "batch_size", 64), "rerun", "trace[1]"),
    Forgery("smaller budget", "zip", put("cell", "budget", 50), "read", "beyond the budget of 50"),
    Forgery("larger budget", "zip", put("cell", "budget", 500), "read", "checkpoint 100 is missing"),
    Forgery("ended early", "zip", longer, "rerun", "queries 500"),
    Forgery("label", "zip", put("cell", "answers", "label"), "read", "method 'zip' reads top"),
    Forgery("top", "zip", put("cell", "answers", "top:3"), "read", "top:3 answers have no calibration error"),
    Forgery("top and no calibration", "zip", coarser, "rerun", "trace[1]"),
    Forgery("two decimals", "zip", put("cell", "answers", "probs:2"), "rescore", "outcomes.test"),
    Forgery("validation", "zip", put("cell", "score", "val"), "rescore", "n_test"),
    Forgery("augmented", "zip", put("cell", "augment", True), "rerun", "trace[1]"),
    Forgery("protocol", "zip", put("cell", "protocol", "base-to-new"), "read", "base and new"),
    Forgery("suite", "zip", put("cell", "suite", "mini-many"), "read", "another version of suite"),
    Forgery("suite with hash", "zip", other_suite, "read", "it has the train losses of"),
    Forgery("variant", "zip", put("cell", "overrides", {"rank": 1}), "read", "parameter rank is"),
    Forgery("no such variant", "zip", put("cell", "overrides", {"ranks": 1}), "read", "no parameter 'ranks'"),
]  # fmt: skip
CODE = [
    Forgery("title", "zip", put("title", "ZIP++"), "read", "the method's file says 'ZIP'"),
    Forgery("CoOp's box", "coop", put("white_box", False), "read", "white_box is False"),
    Forgery("CoOp's access", "coop", put("access", ["text context"]), "read", "access is ('text context',)"),
    Forgery("CoOp ranked", "coop", ranked_coop, "read", "the method's file says True"),
    Forgery("access", "zip", put("access", []), "read", "access is (), but the method's file says"),
    Forgery("schedule", "zip", put("schedule", ""), "read", "schedule is ''"),
    Forgery("fewer parameters", "zip", put("n_params", 1), "rescore", "n_params"),
    Forgery("parameters of none", "manual", put("n_params", 5), "read", "nothing to tune"),
    Forgery("value", "zip", times("params", "rank", 2), "read", "parameter rank is"),
    Forgery("unknown value", "zip", put("params", "luck", 1), "read", "parameter luck is 1"),
    Forgery("value left out", "zip", drop("params", "rank"), "read", "parameter rank is None"),
    Forgery("targets", "zip", put("targets", ["mini-letters"]), "read", "another version of card"),
]  # fmt: skip
TRACES = [
    Forgery("another point", "zip", another_point, "read", "checkpoint 30 is none of a run of 60"),
    Forgery("point left out", "zip", drop("trace", 2), "read", "checkpoint 20 is missing"),
    Forgery("start left out", "zip", drop("trace", 0), "read", "checkpoint 0 is missing"),
    Forgery("end left out", "zip", drop("trace", -1), "read", "checkpoint 60 is missing"),
    Forgery("reordered", "zip", reordered, "read", "checkpoints must rise"),
    Forgery("twice", "zip", lambda d: d["trace"].insert(2, d["trace"][2]), "read", "a checkpoint twice"),
    Forgery("cheaper midway", "zip", point(2, "spent", 11), "read", "1 queries sent 320 images"),
    Forgery("cheaper", "zip", put("queries", 40), "read", "but the record says 40"),
    Forgery("cheaper images", "zip", times("image_queries", 0.5), "read", "image-queries, but the"),
    Forgery("fewest images", "zip", all_images, "rerun", "image_queries"),
    Forgery("free", "head", no_tuning, "rescore", "trace[0].accuracy.test"),
    Forgery("over budget", "zip", put("queries", 61), "read", "but the budget is 60"),
    Forgery("queries for none", "manual", put("queries", 5), "read", "nothing to tune"),
    Forgery("no loss", "zip", point(2, "train_loss", None), "read", "has no train loss"),
    Forgery("negative loss", "zip", point(2, "train_loss", -0.5), "read", "a cross-entropy is at least 0"),
    Forgery("loss", "zip", times("trace", 2, "train_loss", 0.999), "rerun", "trace[2].train_loss"),
    Forgery("loss of none", "manual", point(2, "train_loss", 1.0), "read", "no query was spent"),
]  # fmt: skip
MADE = [
    Forgery("seconds", "zip", put("run", "seconds", -1.0), "read", "run.seconds is -1.0"),
    Forgery("memory", "zip", put("run", "peak_memory_mib", -5.0), "read", "run.peak_memory_mib is -5.0"),
    Forgery("pid", "zip", put("run", "pid", -5), "read", "run.pid is -5"),
    Forgery("tomorrow's", "zip", put("run", "started", "2999-01-01T00:00:00+00:00"), "read", "in the future"),
    Forgery("whenever", "zip", put("run", "started", "last week"), "read", "no time in ISO 8601"),
    Forgery("precision", "zip", put("run", "precision", "float99"), "read", "which bench does not have"),
    Forgery("lower precision", "head", put("run", "precision", "float32"), "rescore", "outcomes.test"),
]
FILES = [
    Forgery("unknown field", "zip", put("award", "best"), "read", "not written as bench writes it", raw=True),
    Forgery("variant's words", "zip", put("variant", "best"), "read", "not written as", raw=True),
    Forgery("error", "zip", put("error", "none"), "read", "field 'error' holds a text"),
    Forgery("schema", "zip", put("schema", 2), "read", "schema is 2"),
    Forgery("failed", "zip", both(put("status", "failed"), put("error", "no")), "read", "the cell failed"),
    Forgery("no hashes", "zip", drop("hashes"), "read", "field 'hashes' is missing"),
]
FORGERIES = [*SCORES, *PROMPTS, *HASHES, *CELLS, *CODE, *TRACES, *MADE, *FILES]


def checked(file: Path, record: Record | None, folder: Path, lab: Lab) -> Iterator[tuple[str, list[str]]]:
    """What each check says of one record, in turn."""
    yield "read", [fault for fault in verify.read(folder).faults if fault.startswith(f"{file}:")]
    assert record is not None, "what cannot be read is refused when it is read"
    for name, check in (("rescore", rescore), ("rerun", rerun)):
        finding = check(file, record, lab)
        assert not finding.unable, finding.unable
        yield name, list(finding.faults)


def test_the_forgeries_are_many_and_different() -> None:
    assert len({one.name for one in FORGERIES}) == len(FORGERIES) >= 60


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda one: one.name)
def test_a_forged_record_is_refused(
    forgery: Forgery, originals: dict[tuple[str, int], Record], lab: Lab, tmp_path: Path
) -> None:
    original = originals[forgery.method, 1]
    for record in originals.values():
        beside = record.cell.method in {"zip", "manual", forgery.method}
        if beside and not (forgery.alone and record is original):
            Store(tmp_path).write(record)
    file, forged = forgery.put(original, tmp_path)
    for name, faults in checked(file, forged, tmp_path, lab):
        if faults:
            assert name == forgery.check and any(forgery.says in fault for fault in faults), (name, faults)
            return
    raise AssertionError("it was accepted")


def test_genuine_records_pass_every_check(genuine: Path, lab: Lab) -> None:
    reading = verify.read(genuine)
    # The second seed of ZIP alone leaves a gap in no row, since each row counts by itself.
    assert reading.faults == () and len(reading.sound) == len(METHODS) + 1
    for file, record in reading.sound:
        assert rescore(file, record, lab).agrees and rerun(file, record, lab).agrees, file


# The command, and what it leaves


def bench(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["results", *map(str, arguments)])


@pytest.fixture
def folder(originals: dict[tuple[str, int], Record], tmp_path: Path) -> Path:
    """The cheap records, in a folder of the test's own."""
    store = Store(tmp_path / "runs")
    for (method, _), record in originals.items():
        if method in ("manual", "head"):
            store.write(record)
    return store.root


def test_the_command_does_all_and_says_what(folder: Path) -> None:
    result = bench("verify", folder, "--rescore", "--rerun", 1, "--by", "A. Reader")
    assert result.exit_code == 0, result.output
    assert "2 rescored: 2 agree, 0 differ, 0 cannot be rescored here" in result.stdout
    assert "1 rerun: 1 agree, 0 differ" in result.stdout and "2 records: fit for" in result.stdout
    assert "--rerun 1 --seed 0: 1 of 2 cells" in result.stderr and "[2/2] rescored: mini/" in result.stderr
    log = read_log(folder)
    assert [one.checks.keys() >= {"read", "rescore"} for one in log.values()] == [True, True]
    assert sum("rerun" in one.checks for one in log.values()) == 1
    assert {one.by for entry in log.values() for one in entry.checks.values()} == {"A. Reader"}

    before = (folder / NAME).read_bytes()
    assert bench("verify", folder).exit_code == 0
    assert (folder / NAME).read_bytes() == before  # reading again takes nothing back and dates nothing anew


def test_a_changed_record_no_longer_counts(folder: Path) -> None:
    assert bench("verify", folder, "--rescore", "--methods", "head").exit_code == 0
    path = next(folder.rglob("head/*.json"))
    log, record = read_log(folder), read(path)
    assert level(record, log) == "rescore" and level(read(next(folder.rglob("manual/*.json"))), log) == "read"
    assert "Verified: read on 20" in bench("show", path).stdout
    path.write_text(path.read_text().replace('"pid": ', '"pid": 1'))
    assert level(read(path), log) == ""
    assert "Not verified here." in bench("show", path).stdout
    path.write_text(path.read_text().replace('"title": "', '"title": "Our '))
    result = bench("verify", folder)
    assert result.exit_code == 1 and "the method's file says" in result.stdout
    assert len(read_log(folder)) == 1  # a record with a fault loses its line


def test_what_scoring_refuses_is_said_and_struck_out(folder: Path) -> None:
    assert bench("verify", folder).exit_code == 0 and len(read_log(folder)) == 2
    path = next(folder.rglob("manual/*.json"))
    data = json.loads(path.read_text())
    flipped(data, True, 2)
    path.write_text(dump(Record.from_json(data)))
    result = bench("verify", folder, "--rescore", "--rerun", 9)
    assert result.exit_code == 1 and f"{path}: accuracy.test 53.8682, but the record says" in result.stdout
    assert "2 rescored: 1 agree, 1 differ" in result.stdout and "1 rerun: 1 agree" in result.stdout
    assert [entry.record for entry in read_log(folder).values()] == [
        str(next(folder.rglob("head/*.json")).relative_to(folder))
    ]


def test_what_is_not_here_is_named_and_not_passed(folder: Path) -> None:
    path = next(folder.rglob("manual/*.json"))
    data = json.loads(path.read_text())
    data["cell"]["backbone"] = "no-such-model"
    path.unlink()
    forged = Record.from_json(data)
    Store(folder).write(forged)
    result = bench("verify", folder, "--rescore", "--device", "cpu")
    assert result.exit_code == 3 and "cannot be rescored here: " in result.stdout
    assert "1 cannot be rescored here" in result.stdout and "fit for the leaderboard" not in result.stdout
    assert level(forged, read_log(folder)) == "read"


def test_other_machines_sums_may_differ_a_little(
    originals: dict[tuple[str, int], Record], lab: Lab, tmp_path: Path
) -> None:
    """A record in float32 from elsewhere: a few images may flip, more may not, and it is not run again."""
    for n, agrees in ((9, True), (12, False)):
        data = json.loads(dump(originals["manual", 1]))
        flipped(data, True, n)
        data["run"] |= {"precision": "float32", "hardware": "a processor from elsewhere"}
        record = Record.from_json(data)
        assert rescore(tmp_path / "x.json", record, lab).agrees == agrees, n
        assert "in float32 on a processor from elsewhere" in rerun(tmp_path / "x.json", record, lab).unable


def test_a_method_that_tampers_while_it_is_scored_is_noticed(
    originals: dict[tuple[str, int], Record], lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from bench import again

    def tamper(*arguments: Any) -> Any:
        torch.set_grad_enabled(False)
        return genuine_rebuild(*arguments)

    genuine_rebuild = again.rebuild
    monkeypatch.setattr(again, "rebuild", tamper)
    finding = rescore(Path("x.json"), originals["manual", 1], lab)
    assert any("while its prompt was scored" in fault for fault in finding.faults), finding
    assert torch.is_grad_enabled()


def test_the_sample_reaches_every_method_and_grows() -> None:
    records = [
        (Path(f"{method}-{seed}.json"), Record(Cell("s", "few-shot", method, "d", "b", seed, 1, 1, 1), "ok"))
        for method, seeds in (("a", 9), ("b", 2), ("c", 5))
        for seed in range(seeds)
    ]
    three = sample(records, 3, seed=0)
    assert {record.cell.method for _, record in three} == {"a", "b", "c"}
    assert sample(records[::-1], 8, seed=0)[:3] == three  # in whatever order the files are found
    assert len(sample(records, 99, seed=0)) == 16
    assert len({tuple(file for file, _ in sample(records, 3, seed)) for seed in range(9)}) > 3


def test_what_was_verified_in_words() -> None:
    assert summed(["rerun", "rescore", "", "read"]) == "3 of 4 read, 2 rescored, 1 rerun"
    assert summed(["", ""]) == ""


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", '{"record": 1}', '{"record": "a", "sha256": "b", "checks": {"sworn": {"date": "", '
        '"bench": "", "machine": ""}}}', '{"record": "a\\u001b", "sha256": "b"}',
    ],
)  # fmt: skip
def test_a_damaged_log_is_one_line_and_stays(folder: Path, line: str) -> None:
    (folder / NAME).write_text(line)
    result = bench("verify", folder)
    assert result.exit_code == 2 and len(result.output.splitlines()) == 1, result.output
    assert NAME in result.output and (folder / NAME).read_text() == line
    shown = bench("show", next(folder.rglob("head/*.json")))
    assert shown.exit_code == 0 and "Not verified here." in shown.stdout and NAME in shown.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--root", "no-such-folder"), "--root no-such-folder: there is no such folder"),
        (("--rescore", "--methods", "heed"), "Did you mean 'head'?"),
        (("--rescore", "--datasets", "nowhere"), "no sound record has it"),
        (("--by", "a\nb"), "--by has to be a line"),
        (("--device", "tpu"), "this machine has no such device"),
    ],
)
def test_wrong_options_are_one_line(folder: Path, options: tuple[str, ...], says: str) -> None:
    result = bench("verify", folder, *options)
    assert result.exit_code == 2 and says in result.output and len(result.output.splitlines()) == 1


def test_the_page_says_what_was_verified(folder: Path, tmp_path: Path) -> None:
    assert bench("verify", folder, "--rescore", "--methods", "head").exit_code == 0
    place = tmp_path / "board.html"
    result = CliRunner().invoke(main, ["leaderboard", "--results", str(folder), "-o", str(place)])
    assert result.exit_code == 0, result.output
    page = place.read_text()
    assert "1 of 1 read, 1 rescored" in page and '<td class="wide">1 of 1 read</td>' in page


@pytest.mark.slow
def test_genuine_records_of_all_methods_pass_every_check(lab: Lab, tmp_path: Path) -> None:
    store = Store(tmp_path)
    wide = [
        *mini_cells("all", datasets=[DATASET], budgets=[130]),
        *mini_cells("manual", "zip", "head", datasets=[DATASET], budgets=[35], protocol="base-to-new"),
        *mini_cells("manual", "zip", "edits", budgets=[35], protocol="cross-dataset"),
        *mini_cells("edits", datasets=["mini-colors"], budgets=[35], answers=["label", "probs:2"]),
        *mini_cells("bar", datasets=["mini-colors"], budgets=[35], answers=["top:3"], pixels_8bit=True),
        *mini_cells("zip", datasets=["mini-clocks"], budgets=[35], shots=[200], score="val"),
    ]  # fmt: skip
    for resolved in wide:
        store.write(run_cell(resolved, lab.settings, lab))
    reading = verify.read(tmp_path)
    assert reading.faults == () and len(reading.sound) == len(wide) > 30
    for check in (rescore, rerun):
        found: list[Finding] = [check(file, record, lab) for file, record in reading.sound]
        assert [one for one in found if not one.agrees] == []
