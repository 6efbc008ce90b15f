"""Which tokens of a prompt through a chat template are the text itself, and which the template."""

from __future__ import annotations

from collections.abc import Sequence

from crosslatent.core.specs import AsChat
from crosslatent.model import Model
from crosslatent.model.chat import Prompt, put_as_chat
from crosslatent.model.prompts import encode_many

Span = tuple[int, int]
"""First token, and the one after the last."""

_MARK = "\ue000\ue001"
"""Private characters, which no template has: they stand where the text goes."""


def content_span(model: Model, text: str, ids: Sequence[int], *, chat: AsChat = True) -> Span:
    """The tokens of a text among those of its chat prompt.

    Characters tell, where the tokenizer says which characters each token is of; a token on the edge
    that has some of the text is the text's. Elsewhere tokens tell: what the prompt does not share
    with one of an empty text, from its beginning and from its end.

    Args:
        model: whose tokenizer and template count.
        text: the text.
        ids: token ids of `text` through the chat template.
        chat: a `core.specs.Chat` holds the arguments that the template got.

    Raises:
        ModelError: the tokenizer has no chat template.
    """
    return _by_characters(model, text, ids, chat) or _by_tokens(model, ids, chat)


def _by_characters(model: Model, text: str, ids: Sequence[int], chat: AsChat) -> Span | None:
    """None if the tokenizer tells no characters, or the template changes with the text."""
    if not model.tokenizer.is_fast:
        return None
    rendered = str(put_as_chat(model, Prompt(text), tokenize=False, chat=chat))
    around = str(put_as_chat(model, Prompt(_MARK), tokenize=False, chat=chat))
    before, found, after = around.partition(_MARK)
    start, stop = len(before), len(rendered) - len(after)
    whole = rendered.startswith(before) and rendered.endswith(after) and start <= stop
    if not (found and whole and rendered[start:stop].strip() == text.strip()):
        return None
    # As apply_chat_template does it: the template writes the special tokens itself.
    encoded = model.tokenizer(
        rendered, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    if list(encoded["input_ids"]) != list(ids):
        return None
    inside = [
        at
        for at, (first, last) in enumerate(encoded["offset_mapping"])
        if first < stop and last > start
    ]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


def _by_tokens(model: Model, ids: Sequence[int], chat: AsChat) -> Span:
    empty = _of_nothing(model, chat)
    most = min(len(ids), len(empty))
    start = next((at for at in range(most) if ids[at] != empty[at]), most)
    left = most - start
    shared = next((at for at in range(left) if ids[-1 - at] != empty[-1 - at]), left)
    return start, len(ids) - shared


def _of_nothing(model: Model, chat: AsChat) -> tuple[int, ...]:
    return tuple(encode_many(model, [Prompt("")], chat=chat)[0])
