"""Arguments of a chat template beside the messages: its switches, and the time.

A template may ask for the time (``strftime_now``). Its prompts are then the same at every call
and on every machine only if the time is fixed: `template_arguments` passes a template that
contains the time.
"""

from __future__ import annotations

import json
from functools import lru_cache
from string import ascii_letters
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from crosslatent.core.errors import ModelError
from crosslatent.core.specs import AsChat, Chat, check_time
from crosslatent.model.model import Model

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
    for part in (f"{flag}{letter}" for letter in ascii_letters for flag in _FLAGS):
        try:
            value = time.strftime(f"%{part}")
        except ValueError:  # platforms differ
            continue
        if value != f"%{part}":
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
