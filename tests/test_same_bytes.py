"""Records do not depend on the kernels that the processor has: a few short cells, under two settings.

`python benchmarks/same_bytes.py` compares every method under all settings of this machine.
"""

from types import ModuleType

import torch

# Without the instructions for vectors, and with the products that MKL gives on every processor. numpy names
# its groups of instructions; one that the processor lacks is only a warning.
OTHER_KERNELS = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
}


def test_other_kernels_leave_the_same_records(same_bytes: ModuleType) -> None:
    """A second process runs the same cells with other kernels, and ends with the same bytes."""
    theirs = same_bytes.measure(["short-records", "unrounded"], OTHER_KERNELS)
    features = theirs.pop("features")
    assert theirs == same_bytes.short_records()
    if torch.backends.cpu.get_cpu_capability() != "DEFAULT":
        assert features != same_bytes.unrounded()["features"], "both processes used the same kernels"


def test_the_list_of_settings_starts_with_the_machines_own(same_bytes: ModuleType) -> None:
    every, few = list(same_bytes.settings(few=False)), list(same_bytes.settings(few=True))
    assert every[0] == few[0] and set(every[0].values()) == {"", "1"}
    assert len(few) < len(every) == len({tuple(setting.values()) for setting in every})
    assert all(setting in every for setting in few)
