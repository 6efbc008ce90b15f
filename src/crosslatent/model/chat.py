"""Prompts as conversations through a chat template, with its switches, the time, and thoughts.

A template may ask for the time (``strftime_now``). Its prompts are then the same at every call
and on every machine only if the time is fixed: `template_arguments` passes a template that
contains the time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from string import ascii_letters
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, TemplateSyntaxError, meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from crosslatent.core.errors import ModelError
from crosslatent.core.specs import AsChat, Chat, check_time

if TYPE_CHECKING:
    from crosslatent.model.model import Model


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question, and the questions with their answers that stand before it (few-shot prompts)."""

    text: str
    shots: tuple[tuple[str, str], ...] = ()

    def plain(self) -> str:
        """As one text: every answer follows its question after a blank."""
        before = [f"{question} {answer}\n\n" for question, answer in self.shots]
        return "".join(before) + self.text

    def messages(self) -> list[dict[str, str]]:
        """As a conversation, for a chat template."""
        turns = [
            {"role": role, "content": content}
            for shot in self.shots
            for role, content in zip(("user", "assistant"), shot, strict=True)
        ]
        return [*turns, {"role": "user", "content": self.text}]


def put_as_chat(model: Model, prompt: Prompt, *, tokenize: bool, chat: AsChat = True) -> Any:
    """A prompt through the chat template: its token ids, or the text that they are made of.

    Raises:
        ModelError: the tokenizer has no chat template, or it refuses the prompt.
    """
    return rendered(model, prompt.messages(), tokenize=tokenize, chat=chat)


def rendered(
    model: Model,
    messages: Sequence[Mapping[str, str]],
    *,
    tokenize: bool,
    add_generation_prompt: bool = True,
    chat: AsChat = True,
) -> Any:
    """A conversation through the chat template: its token ids, or the text that they are made of.

    Args:
        model: whose tokenizer counts.
        messages: turns with role and content.
        tokenize: give token ids.
        add_generation_prompt: end with the header of an answer; otherwise the last turn stays
            open.
        chat: a `core.specs.Chat` holds arguments for the template.

    Raises:
        ModelError: the tokenizer has no chat template, or it refuses what is said, or leaves out
            what the system says, or does not read an argument.
    """
    from jinja2 import TemplateError

    check_chat(model)
    said = [each["content"].strip() for each in messages if each["role"] == "system"]
    try:
        render = partial(
            model.tokenizer.apply_chat_template,
            list(map(dict, messages)),
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **template_arguments(model, chat),
        )
        text = str(render(tokenize=False)) if said or not tokenize else ""
        found = render(tokenize=True, return_dict=False) if tokenize else text
    except (TemplateError, ValueError, TypeError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(
            f"The chat template of {model.name} refuses the prompt ({line}): leave out what it "
            "cannot say, such as earlier turns (--shots) or a system instruction."
        ) from error
    silenced = next((content for content in said if content not in text), None)
    if silenced is not None:
        raise ModelError(
            f"The chat template of {model.name} leaves out the system instruction {silenced!r}: "
            "put it into the question instead."
        )
    return found


def check_chat(model: Model) -> None:
    """Refuse to put prompts as a chat where nothing says how.

    Raises:
        ModelError: the tokenizer has no chat template.
    """
    if not getattr(model.tokenizer, "chat_template", None):
        raise ModelError(
            f"The tokenizer of {model.name} has no chat template: leave --chat out, or use the "
            "model's instruction-tuned version."
        )


_CLOCK = "strftime_now"
"""What transformers calls the function by which templates ask for the time."""

_OURS = frozenset({"messages", "add_generation_prompt", "continue_final_message", _CLOCK})
"""Names that only the caller of a template sets."""

_FLAGS = ("", "-", "_", "0", "^", "#")
"""Flags that may precede the letter of a directive such as "%-d"."""


def template_arguments(model: Model, chat: AsChat) -> dict[str, Any]:
    """Arguments of ``apply_chat_template`` that say how prompts go through the template.

    Raises:
        ModelError: the template does not read one of the arguments, or sets it itself.
        ValueError: the tokenizer has several templates, and none is the usual one.
    """
    settings = chat if isinstance(chat, Chat) else Chat()
    if not settings.arguments and settings.now is None:
        return {}
    template = str(model.tokenizer.get_chat_template())
    _check_arguments(model, template, settings)
    if settings.now is None or _CLOCK not in template:
        return dict(settings.arguments)
    return {**settings.arguments, "chat_template": _clock(settings.now) + template}


@lru_cache
def _clock(now: str) -> str:
    """Source of a macro, to put before a template, that formats this time.

    It gives the local time of the clock that was read, whatever the time zone is here. A template
    takes no function as an argument, so the macro contains the value of every format directive.
    """
    # Without its zone: the function of transformers knows none either.
    read = check_time(now)
    time = read.replace(tzinfo=None)
    table = {}
    for letter, flag in product(ascii_letters, _FLAGS):
        part = f"{flag}{letter}"
        with suppress(ValueError):  # platforms differ
            if (value := time.strftime(f"%{part}")) != f"%{part}":
                table[part] = value
    table["s"] = str(int(read.timestamp()))
    return (
        f"{{% macro {_CLOCK}(format) %}}{{% set table = {json.dumps(table)} %}}"
        "{% set so = namespace(far='', plain=true) %}{% for part in format.split('%') %}"
        "{% if so.plain %}{% set so.far = so.far + part %}{% set so.plain = false %}"
        "{% elif not part %}{% set so.far = so.far + '%' %}{% set so.plain = true %}"
        "{% elif part[:2] in table %}{% set so.far = so.far + table[part[:2]] + part[2:] %}"
        "{% elif part[:1] in table %}{% set so.far = so.far + table[part[:1]] + part[1:] %}"
        "{% else %}{% set so.far = so.far + '%' + part %}{% endif %}"
        # The line break is taken with the tag, so that the template still begins a line.
        "{% endfor %}{{ so.far }}{% endmacro %}\n"
    )


class _Generation(Extension):
    """The tag of transformers around what an assistant says."""

    tags = {"generation"}  # noqa: RUF012 - as the class above has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """What is inside it."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@lru_cache
def switches(template: str) -> frozenset[str]:
    """Names that a template reads and does not set itself; empty if it cannot be parsed."""
    environment = Environment(  # noqa: S701 - it is read, never rendered
        extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    try:
        return frozenset(meta.find_undeclared_variables(environment.parse(template)))
    except TemplateSyntaxError:
        return frozenset()


def _check_arguments(model: Model, template: str, chat: Chat) -> None:
    """Refuse what the template does not read: a misspelled switch would switch nothing."""
    known = switches(template) - _OURS
    for name in chat.arguments:
        if name in _OURS:
            raise ModelError(
                f"A chat template is given {name!r} by every call itself: leave the argument out."
            )
        if name not in known:
            fixed = {"raise_exception", *map(str, model.tokenizer.special_tokens_map)}
            others = ", ".join(sorted(known - fixed)) or "nothing"
            raise ModelError(
                f"The chat template of {model.name} does not use {name!r}: beside messages it "
                f"reads {others}."
            )


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
    marks = list(_THOUGHT.finditer(text))
    return marks[-1]["opens"] if marks else None


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
    names = sorted(switches(str(model.tokenizer.get_chat_template())))
    for name, value in product(filter(_SWITCH.search, names), (False, "none", "off")):
        asked = Chat({**settings.arguments, name: value}, settings.now)
        with suppress(ModelError):  # the template knows no such value
            if open_thought(model, prompt, chat=asked) is None:
                return f"{name}={str(value).lower()}"
    return None
