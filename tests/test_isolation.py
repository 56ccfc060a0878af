"""A cell cannot change its neighbours, and a method finds nothing in its box that is not its own."""

import copy
import pickle
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cells import mini_cells
from toy import D, toy_trial

from bench.blackbox import PUBLIC, AccessDenied, BudgetSpent
from bench.contract import lasting
from bench.isolation import Spoiled
from bench.lab import Lab, Settings
from bench.prompt import Batch, Prompt
from bench.record import Record
from bench.run import run_cell
from bench.schedule.job import Event
from bench.schedule.pool import run_all

CONTEXT = Prompt(context=torch.zeros(2, D))

# The wall

SET = ["budget", "spent", "image_queries", "remaining", "classes", "score", "anything"]


@pytest.mark.parametrize("name", SET)
def test_nothing_on_the_box_can_be_set(name: str) -> None:
    box = toy_trial(budget=30).box
    with pytest.raises(AccessDenied, match=name):
        setattr(box, name, 10**6)
    with pytest.raises(AccessDenied, match="sealed"):
        setattr(type(box), name, property(lambda self: 10**6))


def test_the_box_shows_its_public_names_alone() -> None:
    box = toy_trial().box
    assert {name for name in dir(box) if not name.startswith("_")} == PUBLIC
    assert not hasattr(box, "__dict__")
    assert {"logits", "report", "batches", "spent"} <= PUBLIC
    assert not {"score", "trace", "finish", "deployed", "n_test"} & PUBLIC


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_the_box_is_not_copied(way: object) -> None:
    with pytest.raises(AccessDenied, match="cannot be copied"):
        way(toy_trial().box)  # type: ignore[operator]


def test_a_batch_of_ones_own_is_refused_and_costs_nothing() -> None:
    trial = toy_trial(budget=30)
    trial.report(CONTEXT)
    batch = next(trial.box.batches())
    larger = Batch(torch.arange(40), torch.zeros(40, dtype=torch.long), lambda: torch.zeros(40, 3, 16, 16))
    for forged in (larger, replace(batch, index=torch.arange(40)), next(toy_trial().box.batches())):
        with pytest.raises(AccessDenied, match=r"not one of box\.batches"):
            trial.box.logits(forged, [CONTEXT])
    assert (trial.meter.spent, trial.meter.image_queries) == (0, 0)


def test_what_a_method_does_to_a_batch_stays_with_it() -> None:
    """Labels and positions are its own copies: the harness's losses and the next cell see the true ones."""
    trial, again = toy_trial(), toy_trial()
    for one in (trial, again):
        one.report(CONTEXT)
    (batch, *_), (other, *_) = trial.box.train_pass(), again.box.train_pass()
    batch.labels.zero_()
    batch.index.zero_()
    assert torch.equal(trial.box.logits(batch, [CONTEXT]), again.box.logits(other, [CONTEXT]))
    trial.finish(), again.finish()
    assert trial.trace.points == again.trace.points
    assert trial.loader.train.labels.unique().numel() == 4


def test_the_records_figures_come_from_the_meter() -> None:
    trial = toy_trial(budget=30)
    trial.report(CONTEXT)
    with suppress(BudgetSpent):
        for batch in trial.box.batches():
            with suppress(AccessDenied):
                trial.box.budget = 10**6  # type: ignore[misc]
            trial.box.logits(batch, [CONTEXT] * 4)
    assert trial.meter.spent == 28


# Vandals: each runs before ZIP in one process, and changes nothing for it

VANDAL = '''
"""A method that changes what others use."""
import gc, os, sys
import numpy as np
import torch
from bench.method import Method
from bench.prompt import Prompt
from bench.methods.zip import Zip

def all_of(name):
    return [one for one in gc.get_objects() if type(one).__name__ == name]

def named(module, name):
    return getattr(sys.modules[module], name)

class Vandal(Method):
    title, access, n_params = "Vandal", ("text context",), 1
    def start(self):
        return torch.zeros(1)
    def prompt(self, state):
        return Prompt(state=state)
    def tune(self):
        {deed}
'''

DEEDS = {
    "fills the labels": "[one.labels.fill_(0) for one in all_of('MemoryImages')]",
    "fills the images": "[one._raw.fill_(0) for one in all_of('MemoryImages')]",
    "zeroes kept features": "[one.zero_() for kept in all_of('Kept') if kept.kind == 'the features' "
    "for one in kept._values.values()]",
    "changes the logit scale": "[setattr(one, 'logit_scale', 1.0) for one in all_of('Backbone')]",
    "changes the weights": "[p.data.zero_() for one in all_of('Backbone') for p in one.model.parameters()]",
    "patches the scorer": "named('bench.scorer', 'Scorer').score = lambda self, prompt: {'test': 99.0}",
    "patches the meter": "named('bench.meter', 'Meter').charge = lambda self, queries, images: None",
    "patches an optimiser": "named('bench.optim', 'SPSA').tell = lambda self, losses: None",
    "patches another method": "Zip.tune = lambda self: None",
    "patches a function of torch": "torch.cat = torch.stack",
    "patches the loss": "sys.modules['torch.nn.functional'].cross_entropy = lambda *a, **k: torch.zeros(1)",
    "changes the default dtype": "torch.set_default_dtype(torch.float64)",
    "changes the default device": "torch.set_default_device('meta')",
    "switches gradients off": "torch.set_grad_enabled(False)",
    "changes the environment": "os.environ.update(BENCH_CACHE='/nowhere', OMP_NUM_THREADS='7')",
    "switches oneDNN off": "torch.backends.mkldnn.enabled = False",
    "takes more threads": "torch.set_num_threads(2)",
    "seeds torch": "torch.manual_seed(1)",
    "draws from numpy": "np.random.rand()",
    "flushes small numbers": "torch.set_flush_denormal(True)",
    "leaves the folder": "os.chdir('/')",
}
# These change code or data: the process is not used again.
SPOIL = [name for name in DEEDS if name.split()[0] in ("fills", "zeroes", "patches")] + [
    "changes the logit scale", "changes the weights",
]  # fmt: skip
FRESH = "patches another method"  # a method's file is imported anew for each cell: nothing to notice


@pytest.fixture(scope="module")
def alone() -> dict[str, str]:
    """ZIP's record, with nothing before it."""
    (cell,) = mini_cells("zip", datasets=["mini-digits"], budgets=[20])
    return lasting(run_cell(cell, Settings(), Lab(Settings())))


def put(folder: Path, name: str, deed: str) -> None:
    (folder / f"{name}.py").write_text(VANDAL.format(deed=deed))


@pytest.mark.parametrize("name", DEEDS)
def test_a_vandal_changes_nothing_for_the_next_cell(
    name: str, alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "vandal", DEEDS[name])
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    vandal, zip_ = mini_cells("vandal", "zip", datasets=["mini-digits"], budgets=[20])
    lab = Lab(Settings())
    run_cell(zip_, Settings(), lab)  # so that there are features to spoil
    record = spoiled = None
    try:
        record = run_cell(vandal, Settings(), lab)
    except Spoiled as error:
        record, spoiled = error.record, error
    assert (spoiled is not None) == (name in SPOIL and name != FRESH), record.error
    assert record.ok == (name == FRESH)
    if name != FRESH:
        assert "the method changed what later cells use" in str(record.error)
    assert lasting(run_cell(zip_, Settings(), lab)) == alone


TURN = "torch.set_default_dtype(torch.float64)"
LEAVES = {  # ways out of a cell, each after a switch was turned
    "raises in setup": f"def setup(self):\n        {TURN}\n        raise ValueError",
    "exits": f"def tune(self):\n        {TURN}\n        raise SystemExit(1)",
    "raises in n_params": f"@property\n    def n_params(self):\n        {TURN}\n        raise ValueError",
}


@pytest.mark.parametrize("way", LEAVES)
def test_a_vandal_is_noticed_whichever_way_it_leaves(
    way: str, alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = VANDAL.format(deed="pass") + f"\n    {LEAVES[way]}\n"
    (tmp_path / "vandal.py").write_text(text)
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    vandal, zip_ = mini_cells("vandal", "zip", datasets=["mini-digits"], budgets=[20])
    lab = Lab(Settings())
    record = run_cell(vandal, Settings(), lab)
    assert not record.ok and "torch's default dtype" in str(record.error)
    assert lasting(run_cell(zip_, Settings(), lab)) == alone


def test_a_box_answers_no_more_when_its_run_is_over() -> None:
    trial = toy_trial(budget=30)
    trial.report(CONTEXT)
    batch = next(trial.box.batches())
    trial.finish()
    with pytest.raises(BudgetSpent, match="the run is over"):
        trial.box.logits(batch, [CONTEXT])
    assert trial.meter.spent == 0


@pytest.fixture
def on_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    yield tmp_path


def test_on_ray_a_spoiled_worker_is_replaced(alone: dict[str, str], on_ray: Path) -> None:
    put(on_ray, "vandal", DEEDS["fills the labels"])
    cells = mini_cells("vandal", "zip", datasets=["mini-digits"], budgets=[20])
    records: dict[str, Record] = {}
    events: list[Event] = []
    run_all(
        cells,
        Settings(),
        run=run_cell,
        on_record=lambda record: records.update({record.cell.method: record}),
        on_event=events.append,
        workers=1,
    )
    assert not records["vandal"].ok
    assert [event.cell for event in events if event.kind == "spoiled"] == [cells[0].cell]
    assert records["vandal"].run.pid != records["zip"].run.pid
    assert lasting(records["zip"]) == alone
