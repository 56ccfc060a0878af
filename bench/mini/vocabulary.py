"""The reduced vocabulary: only those of CLIP's BPE merges that the words of the mini world use.

A word of the mini world has the same tokens as in CLIP. Any other word is split into shorter pieces, down to
single bytes.
"""

import gzip
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer, default_bpe

from bench.mini import captions

CONTEXT_LENGTH = 24  # SOS, 16 context tokens, a class name of up to 5 tokens, full stop, EOT
COMMON = """
    a an the of in on at to is it this that with and or no not some many one two photo photos picture
    image images drawing painting sketch rendering view aerial satellite centered type kind style color
    colour colors background foreground ground texture pattern surface material handwritten written
    printed hand number digit letter symbol character sign shape object objects thing something arrow
    pointing points direction clock time showing shows o'clock hour place corner side bright dark small
    large big blurry clean bad good cropped close up low resolution black white land cover use area
    region seen from above made colored filled which what there are here see we says reads half past
    quarter count total exactly several behind towards mix main scene scan marked tells face street map
    old paper set piece any other both shown everything wall material fabric tile
"""


def words() -> list[str]:
    """Every word that a caption, a class name or an ordinary template can hold, sorted."""
    texts = (COMMON, *captions.wordings())
    return sorted({word for text in texts for word in re.findall(r"[a-z]+", text.lower())})


def reduced_merges(texts: Iterable[str]) -> list[str]:
    """The merges that CLIP uses to tokenise `texts`, in CLIP's rank order, each as "first second"."""
    with gzip.open(default_bpe()) as file:
        lines = file.read().decode("utf-8").split("\n")[1 : 49152 - 256 - 2 + 1]
    rank = {tuple(line.split()): i for i, line in enumerate(lines)}
    used = {i for text in texts for i in _merges_of(text, rank)}
    return [lines[i] for i in sorted(used)]


def _merges_of(word: str, rank: dict[tuple[str, ...], int]) -> list[int]:
    """The ranks of the merges that CLIP applies to one word, in order of use."""
    parts = [*word[:-1], word[-1] + "</w>"]
    used = []
    while len(parts) > 1:
        best = min(pairwise(parts), key=lambda pair: rank.get(pair, len(rank)))
        if best not in rank:
            break
        used.append(rank[best])
        parts = _merge(parts, best)
    return used


def _merge(parts: Sequence[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for part in parts:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return out


def write_merges(path: Path) -> None:
    """Write the merges in open_clip's format: gzip, a header line, one merge per line; fixed bytes."""
    text = "\n".join(["#version: reduced from CLIP's merges", *reduced_merges(words())])
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def tokenizer(path: Path) -> SimpleTokenizer:
    """open_clip's tokenizer with the merges in the file `path`: list[str] -> int64 [N, CONTEXT_LENGTH]."""
    return SimpleTokenizer(bpe_path=str(path), context_length=CONTEXT_LENGTH)
