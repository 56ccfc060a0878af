"""Is a folder of records fit for the leaderboard? Every fault in words, each with its file."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.report.frame import CELL, Results, holes, load, read, record_files, variant_of

CARRIED = ("cross-dataset", "ood")  # protocols whose prompt is scored on other data sets' cards too
Known = Mapping[str, Mapping[str, str]]  # 'method' | 'card' -> name -> sha256
ROUNDING = 0.006  # of an accuracy in percent, written with two decimals or more


def verify(path: Path, known: Known | None = None) -> list[str]:
    """Every fault of the records at or under `path`; an empty list says that there is none.

    known: the hashes of the methods and cards at hand; by default those of this installation.
    Raises UserError when there is no record at all.
    """
    files = record_files(path) if path.exists() else []
    if not files:
        raise UserError(f"no records at {path}: name a record or a folder of records")
    faults = []
    cells: dict[tuple[Any, ...], Path] = {}
    for file in files:
        record, why = read(file)
        if record is None:
            faults.append(f"{file}: {why}")
            continue
        identity = (*(record["cell"][name] for name in CELL), variant_of(record))
        if identity in cells:
            faults.append(f"{file}: holds the same cell as {cells[identity]}")
        cells.setdefault(identity, file)
        faults += [f"{file}: {fault}" for fault in faults_of(record, known or known_hashes([record]))]
    return faults + incomplete(path)


def faults_of(record: Mapping[str, Any], known: Known) -> list[str]:
    """What is wrong with one record whose shape is right."""
    if record["status"] == "failed":
        return [f"the cell failed: {record['error'].strip().splitlines()[-1]}"]
    return [*_budget(record), *_trace(record), *_accuracy(record), *_hashes(record, known)]


def _budget(record: Mapping[str, Any]) -> list[str]:
    cell, faults = record["cell"], []
    if record["queries"] > cell["budget"]:
        faults.append(f"{record['queries']} queries were spent, the budget is {cell['budget']}")
    most = record["queries"] * cell["batch_size"]
    if record["image_queries"] > most:
        faults.append(
            f"{record['image_queries']} image-queries in {record['queries']} queries: at most {most} are "
            f"possible with {cell['batch_size']} images a query"
        )
    return faults


def _trace(record: Mapping[str, Any]) -> list[str]:
    points, budget, faults = record["trace"], record["cell"]["budget"], []
    if points[0]["queries"] != 0 or points[0]["spent"] != 0:
        faults.append("the trace does not start with the untuned prompt at query 0")
    for a, b in pairwise(points):
        if b["queries"] <= a["queries"]:
            faults.append(f"the trace goes from checkpoint {a['queries']} to {b['queries']}: they must rise")
        for name in ("spent", "image_queries"):
            if b[name] < a[name]:
                faults.append(
                    f"the trace's {name} falls from {a[name]} to {b[name]} at checkpoint {b['queries']}"
                )
    for point in points:
        if point["spent"] > point["queries"]:
            faults.append(f"{point['spent']} queries were spent by checkpoint {point['queries']}")
        if point["queries"] > budget:
            faults.append(f"checkpoint {point['queries']} lies beyond the budget of {budget}")
        if set(point["accuracy"]) != set(record["accuracy"]):
            faults.append(f"checkpoint {point['queries']} scores other test sets than the result")
    if points[-1]["spent"] > record["queries"]:
        faults.append(
            f"the trace ends at {points[-1]['spent']} queries spent, the record says {record['queries']}"
        )
    return faults


def _accuracy(record: Mapping[str, Any]) -> list[str]:
    faults = []
    end = record["trace"][-1]["accuracy"]
    for name, accuracy in record["accuracy"].items():
        n = record["n_test"].get(name)
        if not 0 <= accuracy <= 100:
            faults.append(f"accuracy on {name} is {accuracy}, outside 0 to 100 %")
        elif not isinstance(n, int) or n < 1:
            faults.append(f"n_test names no number of test images for {name}")
        elif abs(accuracy - 100 * round(accuracy * n / 100) / n) > ROUNDING:
            faults.append(f"accuracy on {name} is {accuracy}: not a whole number of {n} test images")
        if name in end and end[name] != accuracy:
            faults.append(f"accuracy on {name} is {accuracy}, but the trace ends at {end[name]}")
    return faults


def _hashes(record: Mapping[str, Any], known: Known) -> list[str]:
    faults = []
    for kind, name in (("method", record["cell"]["method"]), ("card", _scored_on(record["cell"]))):
        at_hand, given = known.get(kind, {}).get(name), record["hashes"].get(kind)
        if at_hand is None:
            faults.append(f"no {kind} {name!r} here: add its file to the submission")
        elif given != at_hand:
            faults.append(f"made with another version of {kind} {name!r}: run it again with this one")
    faults += [f"hashes.{kind} is missing" for kind in ("split", "weights") if not record["hashes"].get(kind)]
    return faults


def known_hashes(records: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """The hashes of the methods and cards that these records name and this installation has."""
    from bench.data.card import joint_hash, load_card
    from bench.methods import method_hash
    from bench.suites import load_suite

    found: dict[str, dict[str, str]] = defaultdict(dict)
    for cell in (record["cell"] for record in records):
        with suppress(UserError, KeyError):  # reported as unknown, with the record's name
            found["method"][cell["method"]] = method_hash(cell["method"])
        with suppress(UserError, KeyError):
            elsewhere = cell["protocol"] in CARRIED
            names = load_suite(cell["suite"]).tests(cell["protocol"], cell["dataset"]) if elsewhere else ()
            cards = [load_card(name).hash for name in names or (cell["dataset"],)]
            found["card"][_scored_on(cell)] = joint_hash(cards)
    return found


def _scored_on(cell: Mapping[str, Any]) -> str:
    """The name under which the hash of all cards that a cell takes part in is kept."""
    carried = f" under {cell['protocol']} of {cell['suite']}" if cell["protocol"] in CARRIED else ""
    return f"{cell['dataset']}{carried}"


def incomplete(path: Path) -> list[str]:
    """Seeds that a row has for one data set and lacks for another, within each group that shares a table."""
    results = load(path, lambda _: None)
    keys = ["suite", "protocol", "backbone", "shots", "budget", "batch_size", "augment", "score", "row"]
    faults = []
    for key, cells in results.cells.groupby(keys):
        group = Results(cells, results.trace.iloc[:0], results.failed.iloc[:0])
        where = f"{key[0]} / {key[1]} / budget {key[4]}"
        faults += [f"seeds are incomplete: {where} / {hole} is missing" for hole in holes(group)]
    return faults
