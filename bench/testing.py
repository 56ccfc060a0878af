"""The contract of `bench check` as a pytest class, for the tests of a package of methods. It needs pytest.

    from bench.testing import MethodContract

    class TestMine(MethodContract):
        method = "mine"

pytest then shows one test for each point of the contract. The method is run once for all of them.
"""

from typing import ClassVar

import pytest

from bench.contract import POINTS, Verdict, check

Verdicts = dict[str, Verdict]  # by point


class MethodContract:
    """The points that a method has to keep. A subclass names the method; pytest collects the subclass."""

    method: ClassVar[str]  # the name of its file, where `bench run --methods` finds it
    dataset: ClassVar[str] = "mini-digits"  # a data set of the mini suite
    budget: ClassVar[int] = 2000  # queries of the longest run, as in `bench check`

    @pytest.fixture(scope="class")
    @classmethod
    def verdicts(cls) -> Verdicts:
        """The verdict on each point that could be checked. Raises UserError for an unknown method."""
        return {one.point: one for one in check(cls.method, cls.dataset, cls.budget)}

    @pytest.mark.parametrize("point", POINTS)
    def test_the_contract(self, point: str, verdicts: Verdicts) -> None:
        """The method keeps this point."""
        assert point in verdicts, "not checked, because the run failed"
        assert verdicts[point].kept, verdicts[point].detail
