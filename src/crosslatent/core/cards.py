"""Cards: what a notebook shows of an object, as static HTML and as text.

An object says what it consists of (`Shown._card`); how that looks is defined here, once. A card has
no script and loads nothing, works without styles too (some viewers remove them), and every text in
it is escaped.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol

from crosslatent.core.errors import MissingExtraError
from crosslatent.core.languages import UNKNOWN, direction, identify
from crosslatent.core.untrusted import in_page, shown

MOST_TOKENS = 64
"""Tokens of a prompt that are shown: its last ones, since that is where activations go."""

_LIGHT = "--xc:#fff;--xi:#1c2226;--xs:#59646d;--xl:#dde2e5;--xa:#0b62a4;--xm:#cfe4f5;--xo:#b45309"
_DARK = "--xc:#1b2024;--xi:#e9ecee;--xs:#a3adb5;--xl:#323a40;--xa:#66b4ee;--xm:#17476d;--xo:#f2a35c"
_STYLE = f"""\
.xl-card{{{_LIGHT};background:var(--xc);color:var(--xi);border:1px solid var(--xl);\
border-radius:8px;padding:12px 16px;margin:4px 0;max-width:920px;\
font:14px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}}
@media (prefers-color-scheme:dark){{.xl-card{{{_DARK}}}}}
body[data-jp-theme-light=false] .xl-card,body.vscode-dark .xl-card{{{_DARK}}}
.xl-card p{{margin:6px 0}}
.xl-card .soft,.xl-card th{{color:var(--xs)}}
.xl-card table{{border-collapse:collapse;margin:6px 0;background:none;border:0;color:inherit}}
.xl-card tr{{background:none!important}}
.xl-card th,.xl-card td{{text-align:start;vertical-align:top;padding:3px 14px 3px 0;\
border:0;border-bottom:1px solid var(--xl);font-weight:400;white-space:pre-wrap;font-size:13px;\
background:none;color:inherit}}
.xl-card .tokens span,.xl-card mark{{padding:1px 0;border-bottom:2px solid var(--xl);\
color:inherit;white-space:pre-wrap}}
.xl-card .tokens span:nth-of-type(even){{border-color:var(--xs)}}
.xl-card mark{{background:var(--xm);border-color:var(--xa);font-weight:600}}
.xl-card figure{{display:inline-block;margin:6px 18px 6px 0;vertical-align:top}}
.xl-card figcaption{{font-size:12px;color:var(--xs);max-width:240px}}
.xl-card svg text{{fill:var(--xs);font-size:10px}}
.xl-card .gain{{fill:var(--xa)}} .xl-card .loss{{fill:var(--xo)}} .xl-card .none{{fill:var(--xl)}}
.xl-card .line{{stroke:var(--xi);fill:none}}"""


class Part(Protocol):
    """One piece of a card."""

    def html(self) -> str:
        """As HTML, escaped."""
        ...

    def text(self) -> str:
        """As text for a terminal."""
        ...


@dataclass(frozen=True, slots=True)
class Card:
    """What is shown of an object.

    Attributes:
        title: what it is.
        parts: what follows, from the top.
    """

    title: str
    parts: Sequence[Part]

    def html(self) -> str:
        """The card as one element, with its style."""
        inner = "".join(part.html() for part in self.parts)
        head = f"<p><strong>{safe(self.title)}</strong></p>"
        style = f"<style>{_STYLE}</style>"
        return f'<div class="xl-card" lang="en" dir="ltr">{style}{head}{inner}</div>'

    def text(self) -> str:
        """The card as lines."""
        return "\n".join([shown(self.title), *filter(None, (part.text() for part in self.parts))])


class Shown:
    """An object of which notebooks show a card."""

    __slots__ = ()

    @abstractmethod
    def _card(self) -> Card:
        """What is shown."""

    def _repr_html_(self) -> str:
        return self._repr_mimebundle_()["text/html"]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        try:
            card = self._card()
        except MissingExtraError as error:
            card = Card(repr(self), [Sentences([str(error)])])
        return {"text/plain": card.text(), "text/html": card.html()}


def safe(text: str) -> str:
    """Text as HTML, also within an attribute."""
    return escape(str(in_page(text)))


@dataclass(frozen=True, slots=True)
class Sentences:
    """Paragraphs; `soft` ones are remarks."""

    said: Iterable[str]
    soft: bool = False

    def html(self) -> str:
        """One paragraph each."""
        start = '<p class="soft">' if self.soft else "<p>"
        return "".join(f"{start}{safe(one)}</p>" for one in self.said if one)

    def text(self) -> str:
        """One line each."""
        return "\n".join(shown(one) for one in self.said if one)


@dataclass(frozen=True, slots=True)
class TextIn:
    """A text in some language, such as an answer: shown in the direction of its writing.

    Attributes:
        content: the text.
        lang: its code; None: it is identified.
    """

    content: str
    lang: str | None = None

    @property
    def attributes(self) -> str:
        """``lang`` and ``dir`` for its element."""
        lang = self.lang or identify(self.content) or UNKNOWN
        named = "" if lang == UNKNOWN else f' lang="{safe(lang)}"'
        return f'{named} dir="{direction(lang)}"'

    def html(self) -> str:
        """The text, isolated from what surrounds it."""
        return f"<bdi{self.attributes}>{safe(self.content)}</bdi>"

    def text(self) -> str:
        """The text alone."""
        return shown(self.content)


Cell = str | Part


@dataclass(frozen=True, slots=True)
class Rows:
    """A table; a row has a cell for each name of the header, or any number without a header."""

    rows: Sequence[Sequence[Cell]]
    header: Sequence[str] = ()

    def html(self) -> str:
        """A table whose rows begin with their headings."""
        head = "".join(f'<th scope="col">{safe(name)}</th>' for name in self.header)
        body = "".join(
            f'<tr><th scope="row">{_html(first)}</th>'
            + "".join(f"<td>{_html(cell)}</td>" for cell in rest)
            + "</tr>"
            for first, *rest in self.rows
        )
        return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"

    def text(self) -> str:
        """Columns as wide as their cells; drawings have none."""
        lines = [[_text(cell) for cell in row] for row in (self.header, *self.rows) if row]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _html(cell: Cell) -> str:
    return safe(cell) if isinstance(cell, str) else cell.html()


def _text(cell: Cell) -> str:
    return shown(cell) if isinstance(cell, str) else cell.text()


@dataclass(frozen=True, slots=True)
class TokenLine:
    """A prompt cut at its tokens, with those marked that an activation is read from or put into.

    Attributes:
        role: what the prompt is, and what is marked.
        pieces: texts of the tokens; joined, they are the prompt or its end.
        marked: how many of the last ones are marked.
        whole: whether nothing was left out before them.
    """

    role: str
    pieces: Sequence[str]
    marked: int
    whole: bool = True

    def html(self) -> str:
        """One element for each token, in the direction of the prompt's language."""
        plain, touched = self._cut()
        parts = [] if self.whole else ["\u2026"]
        parts += [f"<span>{safe(piece)}</span>" for piece in plain if piece]
        parts += [f"<mark>{safe(piece) or '&nbsp;'}</mark>" for piece in touched]
        of_all = TextIn("".join(self.pieces)).attributes
        return (
            f'<p class="soft">{safe(self.role)}</p><p class="tokens"{of_all}>{"".join(parts)}</p>'
        )

    def text(self) -> str:
        """The prompt, with the marked tokens in brackets."""
        plain, touched = self._cut()
        start = "" if self.whole else "\u2026"
        return shown(f"{self.role}: {start}{''.join(plain)}[{''.join(touched)}]")

    def _cut(self) -> tuple[Sequence[str], Sequence[str]]:
        at = max(len(self.pieces) - self.marked, 0)
        return self.pieces[:at], self.pieces[at:]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture: SVG made by this package, in which every text is escaped already.

    Attributes:
        svg: the element.
        caption: what is seen; also read aloud where it cannot be seen.
    """

    svg: str
    caption: str

    def html(self) -> str:
        """A figure with its caption."""
        return f"<figure>{self.svg}<figcaption>{safe(self.caption)}</figcaption></figure>"

    def text(self) -> str:
        """The caption."""
        return shown(self.caption)


@dataclass(frozen=True, slots=True)
class Bars:
    """Small bars beside each other, such as norms by layer, from zero to the largest."""

    values: Sequence[float]

    def html(self) -> str:
        """Bars with their numbers on hover."""
        top = max(self.values, default=0.0) or 1.0
        wide = max(2.0, min(10.0, 320 / max(len(self.values), 1)))
        bars = "".join(
            f'<rect class="gain" fill="#0b62a4" x="{wide * at:.1f}" y="{28 * (1 - size / top):.1f}"'
            f' width="{wide - 1:.1f}" height="{28 * size / top:.1f}">'
            f"<title>{at}: {size:.3g}</title></rect>"
            for at, size in enumerate(self.values)
        )
        across = wide * len(self.values)
        return f'<svg width="{across:.0f}" height="28" viewBox="0 0 {across:.1f} 28">{bars}</svg>'

    def text(self) -> str:
        """The numbers, if there are not too many."""
        if len(self.values) <= 12:
            return " ".join(f"{size:.3g}" for size in self.values)
        return f"{min(self.values):.3g} to {max(self.values):.3g}"
