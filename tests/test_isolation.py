"""A cell cannot change later cells of its process, and the box leads to no object of the harness."""

import copy
import pickle
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cells import mini_cells
from click.testing import CliRunner
from toy import D, toy_trial

from bench.blackbox import PUBLIC, AccessDenied, BudgetSpent
from bench.commands.main import main
from bench.contract import lasting
from bench.errors import UserError
from bench.isolation import Spoiled
from bench.lab import Lab, Settings
from bench.paths import cache_dir
from bench.prompt import Batch, Prompt
from bench.pulse import Pulse
from bench.record import Record, failure, read
from bench.resolve import Resolved
from bench.runner import run_cell
from bench.schedule.job import Event, attempt
from bench.schedule.pool import run_all
from bench.store import Store

CONTEXT = Prompt(context=torch.zeros(2, D))

# The wall

SET = ["budget", "spent", "image_queries", "remaining", "classes", "score", "anything"]


@pytest.mark.parametrize("name", SET)
def test_no_attribute_of_the_box_can_be_set(name: str) -> None:
    box = toy_trial(budget=30).box
    with pytest.raises(AccessDenied, match=name):
        setattr(box, name, 10**6)
    with pytest.raises(AccessDenied, match="sealed"):
        setattr(type(box), name, property(lambda self: 10**6))


def test_the_box_has_only_its_public_names() -> None:
    box = toy_trial().box
    assert {name for name in dir(box) if not name.startswith("_")} == PUBLIC
    assert not hasattr(box, "__dict__")
    assert {"logits", "report", "batches", "spent"} <= PUBLIC
    assert not {"score", "trace", "finish", "deployed", "n_test"} & PUBLIC


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_the_box_cannot_be_copied(way: object) -> None:
    with pytest.raises(AccessDenied, match="cannot be copied"):
        way(toy_trial().box)  # type: ignore[operator]


def test_a_batch_that_the_box_did_not_give_is_refused_and_costs_nothing() -> None:
    trial = toy_trial(budget=30)
    trial.report(CONTEXT)
    batch = next(trial.box.batches())
    larger = Batch(torch.arange(40), torch.zeros(40, dtype=torch.long), lambda: torch.zeros(40, 3, 16, 16))
    for forged in (larger, replace(batch, index=torch.arange(40)), next(toy_trial().box.batches())):
        with pytest.raises(AccessDenied, match=r"not one of box\.batches"):
            trial.box.logits(forged, [CONTEXT])
    assert (trial.meter.spent, trial.meter.image_queries) == (0, 0)


def test_a_method_that_changes_a_batch_changes_only_its_own_copy() -> None:
    """A batch holds copies of labels and positions: the harness and the next cell use the original ones."""
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


def test_the_counts_in_a_record_come_from_the_meter() -> None:
    trial = toy_trial(budget=30)
    trial.report(CONTEXT)
    with suppress(BudgetSpent):
        for batch in trial.box.batches():
            with suppress(AccessDenied):
                trial.box.budget = 10**6  # type: ignore[misc]
            trial.box.logits(batch, [CONTEXT] * 4)
    assert trial.meter.spent == 28


# Harmful methods: each runs before ZIP in one process. The record of ZIP must not change.

HARMFUL = '''
"""A method that changes what other cells use."""
import builtins, gc, os, sys, threading, time
import numpy as np
import torch
from bench.method import Method
from bench.prompt import Prompt
from bench.methods.zip import Zip

def all_of(name):
    return [one for one in gc.get_objects() if type(one).__name__ == name]

def named(module, name):
    return getattr(sys.modules[module], name)

class Harmful(Method):
    title, access, n_params = "Harmful", ("text context",), 1
    def start(self):
        return torch.zeros(1)
    def prompt(self, state):
        return Prompt(state=state)
    def tune(self):
        {change}
'''

CHANGES = {
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
    "sets more threads": "torch.set_num_threads(2)",
    "seeds torch": "torch.manual_seed(1)",
    "draws from numpy": "np.random.rand()",
    "flushes denormal numbers": "torch.set_flush_denormal(True)",
    "changes the current folder": "os.chdir('/')",
    "leaves autocast on": "torch.autocast('cpu', dtype=torch.bfloat16).__enter__()",
    "leaves a mode on": "torch.device('meta').__enter__()",
    "switches a kernel of attention off": "torch.backends.cuda.enable_math_sdp(False)",
    "switches the fast path of attention off": "torch.backends.mha.set_fastpath_enabled(False)",
    "hooks all modules": "torch.nn.modules.module.register_module_forward_hook(lambda *a: None)",
    "adds an importer": "sys.meta_path.append(type(sys)('importer'))",
    "patches a class of torch with a new attribute": "torch.Tensor.argmax = lambda self, *a: torch.zeros(())",
    "patches a layer of torch": "torch.nn.LayerNorm.forward = lambda self, x: x",
    "patches a builtin": "builtins.sum = lambda *a: 0",
    "patches the table of modules": "sys.modules['math'] = np",
    "patches code in place": "named('bench.blackbox', 'cross_entropy').__code__ = all_of.__code__",
    "patches defaults in place": "named('bench.scorer', 'Scorer').score.__defaults__ = (Prompt(),)",
    "patches a private function": "setattr(sys.modules['bench.data.images'], '_parallel', None)",
    "patches one object": "[setattr(one, 'encode_texts', lambda texts: None) for one in all_of('Backbone')]",
    "hooks the layers": "[m.register_forward_hook(lambda *a: None) for one in all_of('Backbone') "
    "for m in one.model.modules()]",
    "leaves a thread running": "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
}
# These change code or data, or leave a thread: the process is not used again.
SPOIL = [name for name in CHANGES if name.split()[0] in ("fills", "zeroes", "patches")] + [
    "changes the logit scale", "changes the weights", "hooks the layers", "leaves a thread running",
]  # fmt: skip
FRESH = "patches another method"  # a method's file is imported again for each cell, so this changes nothing


@pytest.fixture(scope="module")
def alone() -> dict[str, str]:
    """The record of ZIP in a process where no other method ran."""
    (cell,) = mini_cells("zip", datasets=["mini-digits"], budgets=[20])
    return lasting(run_cell(cell, Settings(), Lab(Settings())))


def put(folder: Path, name: str, change: str) -> None:
    (folder / f"{name}.py").write_text(HARMFUL.format(change=change))


@pytest.mark.parametrize("name", CHANGES)
def test_a_harmful_method_changes_nothing_for_the_next_cell(
    name: str, alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "harmful", CHANGES[name])
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    harmful, zip_ = mini_cells("harmful", "zip", datasets=["mini-digits"], budgets=[20])
    lab = Lab(Settings())
    run_cell(zip_, Settings(), lab)  # so that the lab holds features that can be changed
    record = spoiled = None
    try:
        record = run_cell(harmful, Settings(), lab)
    except Spoiled as error:
        record, spoiled = error.record, error
    assert (spoiled is not None) == (name in SPOIL and name != FRESH), record.error
    assert record.ok == (name == FRESH)
    if name != FRESH:
        assert "the method changed what later cells use" in str(record.error)
    assert lasting(run_cell(zip_, Settings(), lab)) == alone


SWITCH = "torch.set_default_dtype(torch.float64)"
# Ways in which a cell can end, each after a global switch was changed.
ENDINGS = {
    "raises in setup": f"def setup(self):\n        {SWITCH}\n        raise ValueError",
    "exits": f"def tune(self):\n        {SWITCH}\n        raise SystemExit(1)",
    "raises in n_params": f"@property\n    def n_params(self):\n        {SWITCH}\n        raise ValueError",
}


@pytest.mark.parametrize("way", ENDINGS)
def test_a_harmful_method_is_detected_however_its_cell_ends(
    way: str, alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = HARMFUL.format(change="pass") + f"\n    {ENDINGS[way]}\n"
    (tmp_path / "harmful.py").write_text(text)
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    harmful, zip_ = mini_cells("harmful", "zip", datasets=["mini-digits"], budgets=[20])
    lab = Lab(Settings())
    record = run_cell(harmful, Settings(), lab)
    assert not record.ok and "torch's default dtype" in str(record.error)
    assert lasting(run_cell(zip_, Settings(), lab)) == alone


# Each asks the box while other rules of computation are in force, and then puts everything back.
RULES = {
    "autocast": "with torch.autocast('cpu', dtype=torch.bfloat16):\n            self.ask()",
    "a global hook": "hook = torch.nn.modules.module.register_module_forward_hook(zero)\n"
    "        self.ask()\n        hook.remove()",
    "a patch": "before, F.normalize = F.normalize, lambda x, dim: torch.ones_like(x)\n"
    "        self.ask()\n        F.normalize = before",
}
ASK = """
def zero(module, given, found):
    return found * 0 if isinstance(found, torch.Tensor) else None
"""
ASKS = """
    def ask(self):
        batch = next(self.box.batches())
        with suppress(FloatingPointError):
            self.box.logits(batch, [Prompt()])
        self.box.encode(batch, "mini")
"""


@pytest.mark.parametrize(("warm", "access"), [(True, ""), (False, ""), (False, ', "pixels"')])
@pytest.mark.parametrize("name", RULES)
def test_answers_under_other_rules_do_not_outlive_their_cell(
    name: str,
    warm: bool,
    access: str,
    alone: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They stay neither in the lab of the process nor on the disk, from which a new lab reads."""
    text = HARMFUL.format(change=RULES[name]).replace('"text context"', f'"text context"{access}') + ASKS
    text = f"from contextlib import suppress\nimport torch.nn.functional as F\n{text}{ASK}"
    (tmp_path / "harmful.py").write_text(text)
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    harmful, zip_ = mini_cells("harmful", "zip", datasets=["mini-digits"], budgets=[20])
    lab = Lab(Settings())
    if warm:
        run_cell(zip_, Settings(), lab)
    else:
        (tmp_path / "cache").mkdir()
        for kept in ("images", "pictures", "mini"):  # rendered pictures are not features, so they may stay
            if (cache_dir() / kept).exists():
                (tmp_path / "cache" / kept).symlink_to(cache_dir() / kept)
        monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    record = run_cell(harmful, Settings(), lab)
    assert record.ok or "not finite" in str(record.error), record.error  # its own answers may be wrong
    assert record.queries == 1
    assert lasting(run_cell(zip_, Settings(), lab)) == alone
    assert lasting(run_cell(zip_, Settings(), Lab(Settings()))) == alone


def test_an_import_that_changes_the_process_fails_its_own_method(
    alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = HARMFUL.format(change="pass")
    (tmp_path / "harmful.py").write_text(f"import torch\n{SWITCH}\n{text}")
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    with pytest.raises(UserError, match=r"harmful\.py: while it was imported, .*torch's default dtype"):
        mini_cells("harmful")
    assert torch.get_default_dtype() == torch.float32
    (tmp_path / "harmful.py").write_text(text)
    harmful, zip_ = mini_cells("harmful", "zip", datasets=["mini-digits"], budgets=[20])
    (tmp_path / "harmful.py").write_text(f"import torch\n{SWITCH}\n{text}")
    outcome = attempt(run_cell, harmful, Settings(), Pulse())
    assert "while it was imported" in outcome.record.reason and not outcome.spoiled
    assert lasting(run_cell(zip_, Settings(), Lab(Settings()))) == alone


def test_a_local_run_stops_when_its_process_is_spoiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "harmful", CHANGES["patches the meter"])
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    place = ["--datasets", "mini-digits", "--budget", "20", "--results", str(tmp_path / "runs")]
    done = CliRunner().invoke(main, ["run", "--local", "--methods", "harmful,manual", *place])
    assert done.exit_code == 2
    (line,) = [line for line in done.output.splitlines() if "without --local" in line]
    assert "1 cell was not run: mini/few-shot/mini-digits/manual" in line and "Meter.charge" in line
    assert len(list((tmp_path / "runs").rglob("*.json"))) == 1


UNREADABLE = {
    "a count that is not finite": "n_params = float('nan')",
    "a title on the object": "setattr(self, 'title', chr(0xd800))",
    "an error with half of a surrogate pair": "raise ValueError(chr(0xd800))",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_every_record_that_a_cell_leaves_can_be_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = UNREADABLE[name]
    text = HARMFUL.format(change="pass" if "=" in change else change)
    (tmp_path / "harmful.py").write_text(text + (f"\n    {change}\n" if "=" in change else ""))
    monkeypatch.setenv("BENCH_METHODS", str(tmp_path))
    (cell,) = mini_cells("harmful", datasets=["mini-digits"], budgets=[20])
    record = run_cell(cell, Settings(), Lab(Settings()))
    assert record.ok == (name == "a title on the object")
    assert record.title == ("Harmful" if record.ok else "")
    path = Store(tmp_path / "runs").write(record)
    assert read(path) == record


def test_a_record_that_cannot_be_written_fails_its_own_cell(tmp_path: Path) -> None:
    cells = mini_cells("manual", datasets=["mini-digits"], seeds=[1, 2, 3, 4])
    written: list[Record] = []

    def write(record: Record) -> None:
        if record.cell.seed == 2:
            raise UserError("cannot write it")
        written.append(record)

    summary = run_all(cells, Settings(), run=fails, on_record=write, local=True)
    assert [record.cell.seed for record in written] == [1, 3, 4]
    assert [line for cell, line in summary.failed if cell.seed == 2] == [
        "its record was not written: cannot write it"
    ]
    with pytest.raises(UserError, match="the disk is full"):
        run_all(cells, Settings(), run=fails, on_record=full, local=True)


def fails(resolved: Resolved, settings: Settings, *, pulse: Pulse) -> Record:
    return failure(resolved.cell, "it fails as intended")


def full(record: Record) -> None:
    raise UserError("the disk is full")


def test_a_box_gives_no_answers_after_its_run() -> None:
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
    put(on_ray, "harmful", CHANGES["fills the labels"])
    cells = mini_cells("harmful", "zip", datasets=["mini-digits"], budgets=[20])
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
    assert not records["harmful"].ok
    assert [event.cell for event in events if event.kind == "spoiled"] == [cells[0].cell]
    assert records["harmful"].run.pid != records["zip"].run.pid
    assert lasting(records["zip"]) == alone
