"""The meter: it counts queries, and refuses a call that would exceed the budget."""

from bench.blackbox import BudgetSpent


class Meter:
    """The counts in a record come from here. A method reads them through its box and cannot reach the meter.

    budget, spent: queries. image_queries: images sent; an image counts each time it is sent.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.spent = 0
        self.image_queries = 0
        self._open = True

    @property
    def remaining(self) -> int:
        """Queries left."""
        return self.budget - self.spent

    def close(self) -> None:
        """End the run: from now on, its box gives no more answers."""
        self._open = False

    def require(self, queries: int) -> None:
        """Raise BudgetSpent unless `queries` more fit."""
        if not self._open:
            raise BudgetSpent("the run is over: its box gives no more answers")
        if queries > self.remaining:
            raise BudgetSpent(f"{self.spent} of {self.budget} queries are spent; {queries} more do not fit")

    def charge(self, queries: int, images: int) -> None:
        """Count `queries` queries of `images` images each. If they do not fit, raises BudgetSpent instead."""
        self.require(queries)
        self.spent += queries
        self.image_queries += queries * images
