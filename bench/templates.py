"""Lists of templates and of words that were published with a model, but are not a part of the model."""

import re
from functools import cache
from itertools import product

from bench.errors import UserError, did_you_mean

ARTICLES = ("a", "the")
# The words that are in the templates of the papers' data-set cards and not in CLIP's 80 templates.
CARDS = "aircraft centered doing flower food is objects person pet satellite texture this type"


@cache
def templates(name: str) -> tuple[str, ...]:
    """The templates of a list, each with one {} for the class name.

    clip: the 80 templates that CLIP's authors publish for ImageNet. clip-simple: the 7 that they chose from
    these (Radford et al., ICML 2021; the text is in open_clip). mini: the phrases in the mini model's
    captions: every opening with every noun, texture and land (bench/mini/captions.py). Raises UserError for
    another name.
    """
    if name not in LISTS:
        raise UserError(f"no list of templates {name!r}. {did_you_mean(name, LISTS)}")
    return LISTS[name]()


def _clip() -> tuple[str, ...]:
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    return tuple(str(template("{}")) for template in OPENAI_IMAGENET_TEMPLATES)


def _clip_simple() -> tuple[str, ...]:
    from open_clip.zero_shot_metadata import SIMPLE_IMAGENET_TEMPLATES

    return tuple(str(template("{}")) for template in SIMPLE_IMAGENET_TEMPLATES)


def _mini() -> tuple[str, ...]:
    from bench.mini.captions import LAND, NOUNS, OPENINGS, TEXTURED

    nouns = dict.fromkeys(noun for group in NOUNS.values() for noun in group)
    things = [f"{article} {noun}" for article, noun in product(ARTICLES, nouns) if not noun.startswith("the")]
    phrases = dict.fromkeys([*things, *TEXTURED, *LAND])
    return tuple(f"{opening} {phrase}." for opening, phrase in product(OPENINGS, phrases))


LISTS = {"clip": _clip, "clip-simple": _clip_simple, "mini": _mini}


@cache
def words(name: str) -> tuple[str, ...]:
    """The words for new templates, sorted.

    clip: the words of CLIP's 80 templates and of the templates of the papers' data sets. mini: the vocabulary
    of the captions on which the mini model was trained. Raises UserError for another name.
    """
    if name not in WORDS:
        raise UserError(f"no list of words {name!r}. {did_you_mean(name, WORDS)}")
    return WORDS[name]()


def _clip_words() -> tuple[str, ...]:
    texts = " ".join((*templates("clip"), CARDS))
    return tuple(sorted(set(re.findall("[a-z]+", texts.lower()))))


def _mini_words() -> tuple[str, ...]:
    from bench.mini import vocabulary

    return tuple(vocabulary.words())


WORDS = {"clip": _clip_words, "mini": _mini_words}
