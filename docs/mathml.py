"""Equations as MathML, which browsers show by themselves: they need no script and no network."""

from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx


def inline(visitor: Any, node: nodes.math) -> None:
    visitor.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def block(visitor: Any, node: nodes.math_block) -> None:
    equation = latex2mathml.tex2mathml(node.astext(), as_block=True)
    visitor.body.append(f"<div style='margin: 1em 0; overflow-x: auto'>{equation}</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
