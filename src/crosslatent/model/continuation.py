"""Answers as token ids, in the place where they are written: after their prompt.

Tokenizers write a text otherwise where it is alone: those of the SentencePiece kind begin it with a
blank, others keep the word that it continues together. So prompt and answer are encoded as one
text, and what follows the prompt's ids is the answer. Where the two together have other tokens at
the prompt's end (":" and "A" are ":A"), the prompt's ids stay, since its last token is the one that
is edited, and the answer's are those that decode to the rest.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from crosslatent.core.specs import AsChat
from crosslatent.model.chat import Prompt, put_as_chat
from crosslatent.model.model import Model
from crosslatent.model.prompts import begun_once

Ids = tuple[int, ...]

_TOGETHER = 2**20
"""Characters that are tokenised in one call: what a tokenizer returns is large beside its ids."""
_TAIL = 80
"""Letters at the end of a long prompt that are tokenised again with every answer, or twice that."""
_SURE = 8
"""Tokens that stay as they are, so that those before them cannot know what comes after."""
_ANCHORS = (
    "\n", "\n\n", ".", ":", ",", ")", "(", "-", "0", "1", "a", "q", "x", "Z", "qx", "。", "：", "ж"
)  # fmt: skip
"""Texts that may stand before an answer in the place of its prompt, to see how it is written there.
Which of them do is found by trying."""


class Context(NamedTuple):
    """What an answer follows.

    Attributes:
        text: the prompt as the tokenizer gets it: few-shot questions and chat template included.
        ids: its token ids.
        special: whether the tokenizer adds its special tokens to it.
    """

    text: str
    ids: Ids
    special: bool


class Written(NamedTuple):
    """A text as it is written after a context.

    Attributes:
        ids: its token ids, without those of the context; empty if the tokenizer drops it.
        moved: whether they are others than the tokenizer gives for both as one text, because these
            would change the context's own ids.
        unknown: whether one of them is the unknown token.
    """

    ids: Ids
    moved: bool
    unknown: bool


def context_of(model: Model, prompt: Prompt, ids: Sequence[int], *, chat: AsChat) -> Context:
    """What follows a prompt follows this."""
    if model.has_encoder:
        return Context("", tuple(ids), special=False)  # a decoder writes from its own start
    text = str(put_as_chat(model, prompt, tokenize=False, chat=chat)) if chat else prompt.plain()
    return Context(text, tuple(ids), special=not chat)


def written(model: Model, asked: Sequence[tuple[Context, str]]) -> list[Written]:
    """Texts as token ids, each as it is written after its context.

    In encoder-decoder models it is what the decoder writes after its start, whatever the prompt.
    """
    if model.has_encoder:
        return [_written(model, ids) for ids in _targets(model, [text for _, text in asked])]
    end = _frame(model)[1] if any(context.special for context, _ in asked) else ()
    bodies = {
        context: _without_end(context.ids, end) if context.special else context.ids
        for context, _ in asked
    }
    anchored: dict[tuple[str, str], tuple[Ids, ...]] = {}
    found = []
    for (context, text), whole in zip(asked, _together(model, asked, bodies, end), strict=True):
        before = bodies[context]
        # Without ids of its own a text is dropped, or is in an unknown token of the context.
        if whole[: len(before)] == before and len(whole) > len(before):
            found.append(_written(model, whole[len(before) :]))
            continue
        key = (context.text[-1:], text)
        if key not in anchored:
            anchored[key] = tuple(dict.fromkeys(_candidates(model, *key)))
        ids = _rest(model, before, text, whole, anchored[key])
        found.append(_written(model, ids, moved=True))
    return found


def _together(
    model: Model, asked: Sequence[tuple[Context, str]], bodies: Mapping[Context, Ids], end: Ids
) -> list[Ids]:
    """Contexts and texts as one text each, without end token; of long contexts the end is read.

    That gives the same ids where the end of a context alone has the ids that it has in the context,
    and the text after it leaves the first of them as they are: what is on the two sides of a
    boundary that neither side moves is tokenised by itself.
    """
    tails = {context: _tail_of(context.text) for context in bodies}
    found: dict[int, Ids] = {}
    long = [at for at, (context, _) in enumerate(asked) if tails[context] != context.text]
    alone = _encoded(model, [tails[asked[at][0]] for at in long], special=False)
    parts = _encoded(model, [tails[asked[at][0]] + asked[at][1] for at in long], special=False)
    for at, tail, part in zip(long, alone, parts, strict=True):
        ids = _joined(bodies[asked[at][0]], tail, part)
        if ids is not None:
            found[at] = ids
    for special in (False, True):
        rest = [at for at in range(len(asked)) if at not in found]
        left = [at for at in rest if asked[at][0].special == special]
        texts = [asked[at][0].text + asked[at][1] for at in left]
        for at, ids in zip(left, _encoded(model, texts, special=special), strict=True):
            found[at] = _without_end(ids, end) if special else ids
    return [found[at] for at in range(len(asked))]


def _tail_of(text: str) -> str:
    """The end of a long text, from the beginning of a line or a word on if there is one."""
    if len(text) <= 2 * _TAIL:
        return text
    start = len(text) - 2 * _TAIL
    for mark in ("\n", " "):
        if (at := text.rfind(mark, start, -_TAIL)) >= 0:
            return text[at + 1 :]
    return text[start:]


def _joined(before: Ids, tail: Ids, part: Ids) -> Ids | None:
    """The ids of a context and a text, from those of its end alone and of its end with the text.

    None if they do not show what these ids are.
    """
    same = _common(before[::-1], tail[::-1])
    if _common(tail, part) < len(tail) - same + _SURE:
        return None
    return before[: len(before) - same] + part[len(tail) - same :]


def _common(one: Ids, other: Ids) -> int:
    """How many ids two sequences begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _rest(model: Model, before: Ids, text: str, whole: Ids, candidates: Sequence[Ids]) -> Ids:
    """The ids that decode to `text` after `before`, few rather than many; else the closest ones."""
    # Where both begin alike nothing needs to be decoded, but for some tokens beside the rest.
    start = max(0, _common(before, whole) - _SURE)
    near = before[start:]
    wanted = (_decoded(model, near) + text, _decoded(model, whole[start:]))
    unknown = model.tokenizer.unk_token_id

    def faults(ids: Ids) -> tuple[int, int, int]:
        unlike = _unlike(_decoded(model, (*near, *ids)), wanted)
        return unlike, ids.count(unknown), len(ids)

    return min(candidates, key=faults, default=())


def _candidates(model: Model, last: str, text: str) -> Iterator[Ids]:
    """How a text is written after one thing or another, and alone."""
    anchors = ("", *dict.fromkeys((last, *_ANCHORS)))
    alone = _encoded(model, anchors, special=False)
    both = _encoded(model, [anchor + text for anchor in anchors], special=False)
    for anchor, whole in zip(alone, both, strict=True):
        if whole[: len(anchor)] == anchor and len(whole) > len(anchor):
            yield whole[len(anchor) :]


def _unlike(found: str, wanted: Sequence[str]) -> int:
    """How far a text is from what is wanted: 0 for the same, 3 for another one."""
    forms: tuple[Callable[[str], str], ...] = (
        str,
        _plain,
        lambda text: "".join(_plain(text).split()),
    )
    same = (rank for rank, form in enumerate(forms) if form(found) in map(form, wanted))
    return next(same, len(forms))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _targets(model: Model, texts: Sequence[str]) -> list[Ids]:
    """Texts as a decoder writes them from its start, without what it has read already."""
    read = tuple(model.decoder_reads(()))
    before, _ = _frame(model, target=True)
    if len(read) > 1 or read[-len(before) :] == before:
        before = ()  # a language, or a begin token, is forced or is the start itself
    bare = _encoded(model, texts, special=False, target=True)
    return [(*before, *ids) for ids in bare]


def _encoded(
    model: Model, texts: Sequence[str], *, special: bool, target: bool = False
) -> list[Ids]:
    """Token ids of texts, with one begin token at most, in calls of bounded size."""
    distinct = list(dict.fromkeys(texts))
    found: list[Ids] = []
    name = "text_target" if target else "text"
    for part in _parts(distinct):
        read = model.tokenizer(**{name: part}, add_special_tokens=special, verbose=False)
        found += [tuple(begun_once(model, list(ids))) for ids in read["input_ids"]]
    ids_of = dict(zip(distinct, found, strict=True))
    return [ids_of[text] for text in texts]


def _parts(texts: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    held = 0
    for text in texts:
        if part and held + len(text) > _TOGETHER:
            yield part
            part, held = [], 0
        part.append(text)
        held += len(text)
    if part:
        yield part


def _frame(model: Model, *, target: bool = False) -> tuple[Ids, Ids]:
    """The special tokens that the tokenizer puts before and after every text."""
    ((bare,), (whole,)) = (
        _encoded(model, ["a"], special=special, target=target) for special in (False, True)
    )
    for at in range(len(whole) - len(bare) + 1):
        if whole[at : at + len(bare)] == bare:
            return whole[:at], whole[at + len(bare) :]
    return (), ()


def _without_end(ids: Ids, end: Ids) -> Ids:
    return ids[: -len(end)] if end and ids[-len(end) :] == end else ids


def _written(model: Model, ids: Ids, *, moved: bool = False) -> Written:
    return Written(ids, moved, model.tokenizer.unk_token_id in ids)


def _decoded(model: Model, ids: Ids) -> str:
    """The text of ids to the letter, special tokens included."""
    return str(
        model.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
    )
