"""The meter: counts queries, and refuses before a call that would pass the budget."""

from bench.blackbox import BudgetSpent


class Meter:
    """The record's figures come from here. A method reads the counts through its box and cannot reach this.

    budget, spent: queries. image_queries: images sent, one for each time.
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
        """The run is over: whoever still holds its box gets no more answers."""
        self._open = False

    def require(self, queries: int) -> None:
        """Raise BudgetSpent unless `queries` more fit."""
        if not self._open:
            raise BudgetSpent("the run is over: its box answers no more")
        if queries > self.remaining:
            raise BudgetSpent(f"{self.spent} of {self.budget} queries are spent; {queries} more do not fit")

    def charge(self, queries: int, images: int) -> None:
        """Count so many queries of `images` images each. Raises BudgetSpent, and counts nothing then."""
        self.require(queries)
        self.spent += queries
        self.image_queries += queries * images
