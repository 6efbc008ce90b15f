"""A prompt as the model sees it: its text, its tokens, and the last one marked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from crosslatent.core.specs import AsChat

if TYPE_CHECKING:
    from crosslatent.model import Model
    from crosslatent.tasks import Item

OPEN, CLOSE = "\u25b6", "\u25c0"
"""Around the last prompt token."""


@dataclass(frozen=True, slots=True)
class PromptView:
    """One prompt of an item.

    Attributes:
        role: main or aux.
        lang: its language.
        text: what the tokenizer is given (with the chat template's marks, if it is a chat).
        tokens: its tokens as texts; empty without a model.
        ids: their ids.
        decoder: what the decoder begins with, as texts, if an encoder reads the prompt.
    """

    role: str
    lang: str
    text: str
    tokens: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    decoder: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; `last` is the token that a transplant touches.

        Of `decoder`, if there is any, else of `tokens`.
        """
        touched = self.decoder or self.tokens
        return asdict(self) | {"last": len(touched) - 1 if touched else None}

    def marked(self) -> str:
        """The tokens, parted by bars, the last one between two arrows; line breaks are spelled."""
        if not self.decoder:
            return f"{len(self.tokens)} tokens: {_marked(self.tokens)}"
        read = "|".join(token.replace("\n", "\\n") for token in self.tokens)
        return f"{len(self.tokens)} tokens: {read}; the decoder begins with {_marked(self.decoder)}"


def _marked(tokens: tuple[str, ...]) -> str:
    *before, last = [token.replace("\n", "\\n") for token in tokens]
    shown = "".join(f"{token}|" for token in before)
    return f"{shown}{OPEN}{last}{CLOSE}"


def view_prompts(item: Item, model: Model | None, *, chat: AsChat) -> list[PromptView]:
    """Main and aux of an item.

    Raises:
        ModelError: `chat`, but the tokenizer has no chat template.
    """
    from crosslatent.model.chat import put_as_chat
    from crosslatent.model.prompts import encode_many
    from crosslatent.sweeps.tokens import prompts_of

    roles = (("main", item.lang), ("aux", item.aux_lang))
    prompts = prompts_of(item)
    if model is None:
        return [
            PromptView(role, lang, prompt.plain())
            for (role, lang), prompt in zip(roles, prompts, strict=True)
        ]
    ids = encode_many(model, prompts, chat=chat)
    texts = [
        str(put_as_chat(model, prompt, tokenize=False, chat=chat)) if chat else prompt.plain()
        for prompt in prompts
    ]
    return [
        PromptView(
            role,
            lang,
            text,
            tuple(_text(model, token) for token in row),
            tuple(row),
            tuple(_text(model, token) for token in model.decoder_reads(row))
            if model.has_encoder
            else (),
        )
        for (role, lang), row, text in zip(roles, ids, texts, strict=True)
    ]


def _text(model: Model, token: int) -> str:
    """A token as text; by its id if it is only part of a character."""
    text = model.token_text(token)
    return f"<{token}>" if "\ufffd" in text else text
