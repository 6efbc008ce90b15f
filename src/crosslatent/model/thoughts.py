"""Prompts that end inside a thought: the token that is touched is in it, and so is what follows."""

from __future__ import annotations

import re

from crosslatent.core.errors import ModelError
from crosslatent.core.specs import AsChat, Chat
from crosslatent.model.chat import switches
from crosslatent.model.model import Model
from crosslatent.model.prompts import Prompt, put_as_chat

_END = "\ue000\ue001"
"""Private characters, which no template has: the question itself ends where they stand."""

_WORD = r"(?:think|thinking|thoughts?|reason|reasoning|analysis|scratchpad|reflection)"
_BRACKETS = (r"[<\[\u25c1]\|?", r"\|?[>\]\u25b7]")
_BEFORE = r"(?:[a-z]+:|longcat_)?"
_OPENS = (
    rf"{_BRACKETS[0]}(?:(?:begin|start)_(?:of_)?)?{_BEFORE}{_WORD}{_BRACKETS[1]}"
    r"|<\|channel\|?>\s*(?:analysis|commentary|thought|thinking|reasoning)"
    r"|<\|inner_prefix\|>|<unused94>"
)
_CLOSES = (
    rf"{_BRACKETS[0]}(?:/|end_(?:of_)?){_BEFORE}{_WORD}{_BRACKETS[1]}"
    r"|<\|channel\|?>\s*final|<channel\|>|<\|end\|>|<\|inner_suffix\|>|<unused95>"
)
_THOUGHT = re.compile(rf"(?P<opens>{_OPENS})|(?P<closes>{_CLOSES})", re.IGNORECASE)
"""Marks by which families begin and end a thought."""


def opened_in(text: str) -> str | None:
    """The mark that opens a thought in a text that does not close it; None if there is none."""
    last = None
    for last in _THOUGHT.finditer(text):  # noqa: B007 - the last one counts
        pass
    return None if last is None else last["opens"]


_SWITCH = re.compile("think|reason", re.IGNORECASE)
"""Names of switches that may close a thought."""


def open_thought(model: Model, prompt: Prompt, *, chat: AsChat = False) -> str | None:
    """The mark of the thought that a prompt ends inside; None if there is none.

    Marks in the question or before it are ignored: with a chat template, only the text that the
    template writes after the question counts; without one, only the very last token of the prompt.

    Raises:
        ModelError: the tokenizer has no chat template, or it refuses the prompt.
    """
    if not chat:
        text = prompt.plain().rstrip()
        mark = opened_in(text)
        known = mark in model.tokenizer.get_added_vocab()
        return mark if mark is not None and known and text.endswith(mark) else None
    marked = Prompt(prompt.text + _END, prompt.shots)
    text = str(put_as_chat(model, marked, tokenize=False, chat=chat))
    return opened_in(text.rpartition(_END)[2])


def thought_note(
    model: Model, prompt: Prompt, *, chat: AsChat, role: str, new_tokens: int
) -> str | None:
    """A sentence for a prompt that ends inside a thought; None for one that does not.

    Args:
        model: whose template counts.
        prompt: the prompt.
        chat: whether, and how, it goes through the chat template.
        role: what the prompt is ("main", "aux").
        new_tokens: how many tokens will be generated after it.

    Raises:
        ModelError: the tokenizer has no chat template, or it refuses the prompt.
    """
    mark = open_thought(model, prompt, chat=chat)
    if mark is None:
        return None
    switch = _closing(model, prompt, chat)
    advice = "ask for more of them" if switch is None else f"--chat-arg {switch} closes it"
    return (
        f"the {role} prompt ends inside a thought ({mark!r}), so that a transplant happens in it, "
        f"and {new_tokens} new tokens may be thought and no answer: {advice}"
    )


def _closing(model: Model, prompt: Prompt, chat: AsChat) -> str | None:
    """The template argument with which the prompt does not end inside a thought, if any."""
    if not chat:
        return None
    settings = chat if isinstance(chat, Chat) else Chat()
    for name in sorted(switches(str(model.tokenizer.get_chat_template()))):
        for value, said in ((False, "false"), ("none", "none"), ("off", "off")):
            asked = Chat({**settings.arguments, name: value}, settings.now)
            try:
                if _SWITCH.search(name) and open_thought(model, prompt, chat=asked) is None:
                    return f"{name}={said}"
            except ModelError:  # the template knows no such value
                continue
    return None
