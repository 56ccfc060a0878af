"""Measures the reports' test on simulated benchmarks: family-wise error, coverage and power.

    python benchmarks/error_rates.py [--simulations 20000] [--seed 1] [--update docs/statistics.md]

A simulated benchmark has methods x data sets x 3 seeds. Accuracy = the method's true mean + the data set's
effect (shared by all methods) + an interaction of method and data set, of which methods of one family share
a part + noise of the seed. The standard deviation of the interaction is different for every method, from 1
to 4 points.

There are two truths: all methods are equal (the complete null), or there are three groups of equal methods,
6 points apart (a partial null). A family-wise error is a benchmark in which two equal methods are called
different. Coverage is the share of benchmarks in which all simultaneous intervals hold the true difference.
Power is the share of truly different pairs that are called different. The measured function is
bench.report.stats.pairwise, which the reports call. The other procedures are here for comparison.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from scipy import stats as scipy_stats

from bench.report.stats import ALPHA, Pairs, pairwise

METHODS, SETS, SEEDS = (7, 12, 25), (10, 5), 3
LOW, HIGH, STEP = 1.0, 4.0, 6.0  # points: least and largest sd of the interaction; distance of the groups
# Share of the interaction's variance that a family shares; sd of a seed's noise over the interaction's sd.
FAMILY, SEED_NOISE = 0.4, 0.5
BATCH = 250
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
# All have mean 0 and variance 1.
NOISES: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails (t, 3 df)": lambda rng, shape: rng.standard_t(3, shape) / 3**0.5,
    "skewed (exponential)": lambda rng, shape: rng.standard_exponential(shape) - 1,
    "very skewed (log-normal)": lambda rng, shape: (
        (np.exp(rng.standard_normal(shape)) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    ),
}


@dataclass(frozen=True)
class Scenario:
    """One kind of benchmark."""

    methods: int
    sets: int
    noise: str
    partial: bool

    @property
    def truth(self) -> np.ndarray:
        """[methods] true means."""
        groups = np.arange(self.methods) * 3 // self.methods
        # Equal methods have all kinds of variances.
        return STEP * np.random.default_rng(0).permutation(groups) * self.partial

    def draw(self, rng: np.random.Generator, simulations: int) -> np.ndarray:
        """[simulations, methods, data sets, seeds]"""
        noise, shape = NOISES[self.noise], (simulations, self.methods, self.sets)
        scale = np.geomspace(LOW, HIGH, self.methods)[:, None]
        family = noise(rng, (simulations, 3, self.sets))[:, np.arange(self.methods) % 3]
        own = FAMILY**0.5 * family + (1 - FAMILY) ** 0.5 * noise(rng, shape)
        effect = 10 * rng.standard_normal((simulations, 1, self.sets))
        seeds = SEED_NOISE * noise(rng, (*shape, SEEDS))
        return (self.truth[:, None] + effect + scale * own)[..., None] + scale[..., None] * seeds


@dataclass(frozen=True)
class Measured:
    """The rates of one procedure in one scenario. Coverage is NaN if it has no simultaneous intervals."""

    error: float
    coverage: float
    power: float


def measure(scenario: Scenario, simulations: int, seed: int) -> Measured:
    """The reports' own procedure."""
    rng, truth = np.random.default_rng(seed), scenario.truth
    wrong, covered, found = 0, 0, []
    for size in batches(simulations):
        pairs = pairwise(scenario.draw(rng, size).mean(axis=-1))
        true = truth[pairs.first] - truth[pairs.second]
        real = pairs.p < ALPHA
        wrong += int(real[:, true == 0].any(axis=1).sum())
        covered += int((np.abs(pairs.mean - true) <= pairs.half_width).all(axis=1).sum())
        found.append(real[:, true != 0])
    return Measured(wrong / simulations, covered / simulations, share(np.concatenate(found)))


def batches(simulations: int) -> list[int]:
    whole, rest = divmod(simulations, BATCH)
    return [BATCH] * whole + [rest] * (rest > 0)


def share(found: np.ndarray) -> float:
    return float(found.mean()) if found.size else float("nan")


# Procedures that were not chosen: from [methods, data sets, seeds] to [pairs], True if called different.


def holm(runs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paired t tests, Holm's step-down correction. It has no intervals that agree with it."""
    pairs = pairwise(runs.mean(axis=-1))
    return step_down(2 * scipy_stats.t.sf(np.abs(pairs.mean) / pairs.error, pairs.sets - 1))


def step_down(p: np.ndarray) -> np.ndarray:
    order = np.argsort(p)
    kept = np.minimum.accumulate(p[order] < ALPHA / (len(p) - np.arange(len(p))))
    real = np.zeros(len(p), bool)
    real[order[kept]] = True
    return real


def studentized_range(runs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every pair's t against Tukey's studentized range of all methods, with the pair's own variance."""
    pairs = pairwise(runs.mean(axis=-1))
    return np.abs(pairs.mean) / pairs.error > range_limit(runs.shape[0], pairs.sets)


@cache
def range_limit(methods: int, sets: int) -> float:
    return float(scipy_stats.studentized_range.ppf(1 - ALPHA, methods, sets - 1) / 2**0.5)


def sign_flips(runs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every t against the distribution of the largest t under all sign flips of whole data sets (max-T)."""
    return sign_flip_p(runs.mean(axis=-1)) < ALPHA


def sign_flip_p(accuracy: np.ndarray) -> np.ndarray:
    """[methods, data sets] -> [pairs] corrected p."""
    pairs, sets = pairwise(accuracy), accuracy.shape[1]
    gaps = accuracy[pairs.first] - accuracy[pairs.second]  # [pairs, data sets]
    flips = np.array([(1, *rest) for rest in product((1, -1), repeat=sets - 1)])
    mean, squares = flips @ gaps.T / sets, (gaps**2).mean(axis=1)
    largest = np.sqrt((sets - 1) * (mean**2 / np.maximum(squares - mean**2, 1e-12)).max(axis=1))
    t = np.abs(pairs.mean) / pairs.error
    return (largest[:, None] >= t - 1e-9).mean(axis=0)


def bootstrap(runs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Percentile bootstrap over data sets, and over seeds within them; 10,000 draws, Holm's correction."""
    methods, sets, seeds = runs.shape
    resampled = resamples(sets, seeds, 10_000) @ runs.reshape(methods, -1).T  # [draws, methods]
    first, second = np.triu_indices(methods, 1)
    gaps = resampled[:, first] - resampled[:, second]
    side = np.minimum((gaps <= 0).sum(axis=0), (gaps >= 0).sum(axis=0))
    return step_down(2 * (side + 1) / (len(gaps) + 1))


@cache
def resamples(sets: int, seeds: int, draws: int) -> np.ndarray:
    """[draws, data sets x seeds] weights of a mean over resampled data sets and their resampled seeds."""
    rng = np.random.default_rng(0)
    chosen = rng.integers(sets, size=(draws, sets, 1)) * seeds + rng.integers(
        seeds, size=(draws, sets, seeds)
    )
    counts = [np.bincount(row, minlength=sets * seeds) for row in chosen.reshape(draws, -1)]
    return np.array(counts) / (sets * seeds)


OTHERS = {
    "paired t, Holm": holm,
    "studentized range": studentized_range,
    "sign flips, max-T": sign_flips,
    "percentile bootstrap, Holm": bootstrap,
}


def compare_others(scenario: Scenario, simulations: int, seed: int) -> dict[str, Measured]:
    """The rates of the procedures that were not chosen, on the same benchmarks."""
    rng, truth = np.random.default_rng(seed), scenario.truth
    first, second = np.triu_indices(scenario.methods, 1)
    null = truth[first] == truth[second]
    verdicts: dict[str, list[np.ndarray]] = {name: [] for name in OTHERS}
    for size in batches(simulations):
        for runs in scenario.draw(rng, size):
            for name, procedure in OTHERS.items():
                verdicts[name].append(procedure(runs, rng))
    real = {name: np.array(each) for name, each in verdicts.items()}
    return {
        name: Measured(float(r[:, null].any(axis=1).mean()), float("nan"), share(r[:, ~null]))
        for name, r in real.items()
    }


def found_at_the_least_lead(simulations: int, seed: int, methods: int, sets: int) -> float:
    """How often a lead of `detectable` points, computed from the true spread, is found. It should be 0.8."""
    rng, lead = np.random.default_rng(seed), 0.0
    for _ in range(2):  # the first round computes the lead, the second uses it
        accuracy = rng.standard_normal((simulations, methods, sets))
        accuracy[:, 0] += lead
        pairs = pairwise(accuracy)
        lead = float(
            Pairs(pairs.first, pairs.second, pairs.mean, np.array(np.sqrt(2 / sets)), sets).detectable
        )
    return float((pairs.p[:, 0] < ALPHA).mean())


def tables(simulations: int, others: int, seed: int) -> list[str]:
    """The tables of docs/statistics.md as Markdown lines."""
    lines = [
        f"{simulations:,} benchmarks for each number (standard error of an error rate near 0.05: "
        f"{np.sqrt(0.05 * 0.95 / simulations):.4f}), seed {seed}.",
        "",
        "| data sets | methods | noise | error, all equal | error, three groups | coverage, all equal "
        "| coverage, three groups | power |",
        "| --: | --: | :-- | --: | --: | --: | --: | --: |",
    ]
    for sets, methods, noise in product(SETS, METHODS, NOISES):
        whole, partial = (
            measure(Scenario(methods, sets, noise, p), simulations, seed) for p in (False, True)
        )
        lines.append(
            f"| {sets} | {methods} | {noise} | {whole.error:.3f} | {partial.error:.3f} "
            f"| {whole.coverage:.3f} | {partial.coverage:.3f} | {partial.power:.2f} |"
        )
    lines += [
        "",
        f"The procedures that were not chosen, with 10 data sets; {others:,} benchmarks for each number. "
        "Before the slash: family-wise error with all methods equal. After it: power with three groups.",
        "",
        "| methods | noise | " + " | ".join(("paired t, Bonferroni (chosen)", *OTHERS)) + " |",
        "| --: | :-- |" + " --: |" * (1 + len(OTHERS)),
    ]
    for methods, noise in product(METHODS, NOISES):
        scenarios = [Scenario(methods, SETS[0], noise, p) for p in (False, True)]
        whole, partial = (measure(s, others, seed) for s in scenarios)
        rivals, found = (compare_others(s, others, seed) for s in scenarios)
        numbers = [f"{whole.error:.3f} / {partial.power:.2f}"]
        numbers += [f"{rivals[name].error:.3f} / {found[name].power:.2f}" for name in OTHERS]
        lines.append(f"| {methods} | {noise} | {' | '.join(numbers)} |")
    lines += [
        "",
        "How often a lead as large as the least detectable one is found (it should be 0.80), normal noise:",
        "",
        "| data sets | " + " | ".join(f"{m} methods" for m in METHODS) + " |",
        "| --: |" + " --: |" * len(METHODS),
    ]
    for sets in SETS:
        found_there = [found_at_the_least_lead(simulations, seed, m, sets) for m in METHODS]
        lines.append(f"| {sets} | " + " | ".join(f"{f:.2f}" for f in found_there) + " |")
    return lines


def skewness(accuracy: np.ndarray) -> float:
    """Mean absolute sample skewness of the differences of every two rows of [..., methods, data sets]."""
    first, second = np.triu_indices(accuracy.shape[-2], 1)
    gaps = accuracy[..., first, :] - accuracy[..., second, :]
    return float(np.nanmean(np.abs(scipy_stats.skew(gaps, axis=-1))))


def skewness_table(results: Path) -> list[str]:
    """The skewness of the differences in the records and in simulated benchmarks of 12 x 10."""
    from bench.report.frame import load, select
    from bench.report.summary import standing

    found, lines = load(results), ["| differences | mean absolute skewness |", "| :-- | --: |"]
    for protocol in ("few-shot", "base-to-new"):
        for budget in (500, 5000):
            s = standing(select(found, protocol=protocol), budget)
            lines.append(f"| {protocol}, {budget:,} queries | {skewness(s.matrix.to_numpy(float)):.2f} |")
    for noise in NOISES:
        runs = Scenario(12, 10, noise, False).draw(np.random.default_rng(1), 1000)
        lines.append(f"| simulated, {noise} | {skewness(runs.mean(axis=-1)):.2f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=20_000)
    parser.add_argument("--others", type=int, default=500, help="of the procedures that were not chosen")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--update", type=Path, help="write the tables between the markers of this file")
    parser.add_argument("--skewness", type=Path, help="of the records in this folder, and nothing else")
    arguments = parser.parse_args()
    if arguments.skewness is not None:
        print("\n".join(skewness_table(arguments.skewness)))
        return
    made = "\n".join(tables(arguments.simulations, arguments.others, arguments.seed))
    if arguments.update is None:
        print(made)
        return
    before, _, rest = arguments.update.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    arguments.update.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
