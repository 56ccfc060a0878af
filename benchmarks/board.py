"""Runs the mini leaderboard: every cell whose record is committed under results/.

    python benchmarks/board.py                       # all parts, one after the other
    python benchmarks/board.py few-shot ablations    # these parts
    python benchmarks/board.py --print               # only say the commands

A run that was interrupted goes on where it stopped. Afterwards `bench results publish` makes the tables, the
pictures and the page.
"""

import argparse
import shlex
import subprocess
import sys

from bench.access import ACCESS, LANGUAGE_MODEL
from bench.answered import parse
from bench.params import make_params
from bench.plugins import METHODS, load_method
from bench.suite import load_suite

SEEDS = "1-5"
LEVELS = ("label", "top:3", "probs:2", "probs:4")  # "logits" are those of the leaderboard itself
SEEDS_OF_STUDIES = "1-3"  # of the sweep of answers and of the ablations
# Of the sweep of answers: a pixel method takes minutes per cell. None of these was used for tuning.
SETS_OF_PIXELS = "mini-colors,mini-clocks,mini-shapes"
# On the sets of many classes: what decides what may be said about heads. The methods that read features would
# keep the train images' features in their records, about a megabyte each.
MANY = "manual,ensemble,head,readout,edits,zip,craft,cbbt,coop"

# What the papers' tables of parts vary; each value is a variant. ZIP, ICLR 2025: the clipping threshold,
# the rank, the shared vector, the intrinsic dimension, the length of the context. CraFT, ICML 2024: both
# halves alone; the prompt alone is the row bbt with CraFT's values.
# More: CBBT with the published number of directions, methods with random contexts that start from the hand
# template's words instead, and BlackVIP with the step that an earlier choice with one seed had given.
ABLATIONS = (
    ("zip", "clip=none,0.1,1,10,100"),
    ("zip", "rank=0,1,3,8"),
    ("zip", "share=false"),
    ("zip", "intrinsic=100,250,1000"),
    ("zip", "m=4,16"),
    ("craft", "refinement_only=true"),
    ("bbt", f"std={load_suite('mini').methods['craft']['std']}", "deploy=sample"),
    ("cbbt", "q=256"),
    ("zip", "init=hand"),
    ("spsa", "init=hand"),
    ("blackvip", "a=0.3"),
)


def methods(level: str = "logits", pixels: bool = False) -> str:
    """The names of the methods that can work with these answers: those that send pixels, or the others."""
    return ",".join(
        name
        for name in METHODS.files()
        for method in [load_method(name)]
        if LANGUAGE_MODEL not in method.access
        and pixels == (ACCESS["pixels"] in method.access)
        and parse(level).grants(method.needs(make_params(name, {})))
    )


def parts() -> dict[str, list[list[str]]]:
    """The name of each part -> the arguments of its `bench run` commands. What takes long comes last."""
    answers, pixels, many = [], [], []
    for level in LEVELS:
        answers.append(["--methods", methods(level), "--answers", level, "--seeds", SEEDS_OF_STUDIES])
        few = ["--seeds", SEEDS_OF_STUDIES, "--datasets", SETS_OF_PIXELS]
        if sending := methods(level, pixels=True):
            pixels.append(["--methods", sending, "--answers", level, *few])
    for protocol in ("few-shot", "base-to-new"):
        many.append(["--suite", "mini-many", "--protocol", protocol, "--methods", MANY, "--seeds", SEEDS])
    whole = {
        protocol: [["--protocol", protocol, "--methods", "all", "--seeds", SEEDS]]
        for protocol in ("few-shot", "base-to-new", "cross-dataset", "ood")
    }
    ablations = [
        ["--methods", name, *(f"--set={name}.{one}" for one in values), "--seeds", SEEDS_OF_STUDIES]
        for name, *values in ABLATIONS
    ]
    return {**whole, "answers": answers, "ablations": ablations, "many": many, "answers-pixels": pixels}


def main() -> None:
    every = parts()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(every)}; default: all")
    parser.add_argument("--results", default="results")
    parser.add_argument("--print", action="store_true", help="say the commands and run nothing")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in every]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(every)}")
    for part in arguments.parts or every:
        for options in every[part]:
            command = ["bench", "run", *options, "--results", arguments.results]
            print(f"{part}: {shlex.join(command)}", flush=True)
            if not arguments.print:
                subprocess.run([sys.executable, "-m", *command], check=True)


if __name__ == "__main__":
    main()
