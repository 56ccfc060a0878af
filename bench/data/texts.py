"""Texts as a tokenizer sees them: which are the same, and which are cut."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

Tokenizer = Callable[[list[str]], Tensor]  # texts -> token ids [N, context_length]
CLIP_TOKENS = 77  # what CLIP's text tower reads


def same_to_clip(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """`same_to` for CLIP, where a text is so long that it may be cut; else there is nothing to look for."""
    if any(len(text.encode()) + 2 > CLIP_TOKENS for text in texts):
        from open_clip.tokenizer import SimpleTokenizer  # a second, and few data sets need it

        yield from same_to(SimpleTokenizer(context_length=CLIP_TOKENS), texts)


def same_to(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The pairs of texts, by their places, of which a tokenizer makes the same tokens."""
    first: dict[bytes, int] = {}
    for i, row in enumerate(tokenizer(list(texts))):
        seen = first.setdefault(row.numpy().tobytes(), i)
        if seen != i:
            yield seen, i


def cut_by(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> list[str]:
    """The texts whose end a tokenizer leaves out: without their last letter they give the same tokens."""
    long = [text.rstrip() for text in texts if len(text.encode()) + 2 > length]  # a token has a byte or more
    if not long:
        return []
    whole, shorter = tokenizer(long), tokenizer([text[:-1] for text in long])
    return [text for text, same in zip(long, (whole == shorter).all(1).tolist(), strict=True) if same]
