"""`OwnTranslator`: the model that is being studied translates its prompts itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crosslatent import engine
from crosslatent.core.languages import name_of
from crosslatent.core.specs import AsChat, Chat
from crosslatent.engine.requests import Request
from crosslatent.model import Model
from crosslatent.model.chat import Prompt, check_chat, put_as_chat
from crosslatent.model.prompts import encode_many
from crosslatent.model.structure import refuse_encoder
from crosslatent.translate.translator import BUDGET, new_tokens

_PROMPT = "Translate from {source} to {target}.\n{source}: {text}\n{target}:"
_ASK = (
    "Translate this text from {source} to {target}. Reply with the translation alone, on one "
    "line.\n\n{text}"
)

_NOTHING, _PLAIN_CHAT = Prompt("x"), Chat(now="1970-01-01")
"""A prompt that shows the text of a template around it, and a chat with a fixed date."""

_STEP = 32
"""Budgets are rounded up to this, so that texts of about one length share a batch."""


@dataclass(frozen=True, slots=True)
class OwnTranslator:
    """Translates with a causal model, greedily; texts are answered in batches.

    Attributes:
        model: the model.
        chat: whether, and how, to ask through the tokenizer's chat template; else a text to
            complete.

    Raises:
        ModelError: `chat`, but the tokenizer has no chat template; or an encoder reads prompts.
    """

    model: Model
    chat: AsChat = False

    def __post_init__(self) -> None:
        """Refuse what would fail later."""
        refuse_encoder(
            self.model.hf,
            "Asking the model itself for translations",
            "name a translation model, such as --translate-with facebook/nllb-200-distilled-600M",
        )
        if self.chat:
            check_chat(self.model)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.model.name} itself"

    @property
    def identity(self) -> dict[str, Any]:
        """The model, and how it is asked."""
        asked = [_ASK, self.model.tokenizer.chat_template] if self.chat else [_PROMPT]
        if isinstance(self.chat, Chat):
            # Template arguments (a switch, the date) count only where they change the prompt.
            usual = put_as_chat(self.model, _NOTHING, tokenize=False, chat=_PLAIN_CHAT)
            now = put_as_chat(self.model, _NOTHING, tokenize=False, chat=self.chat)
            asked += [now] if now != usual else []
        return {"model": self.model.identity_now, "asked": asked, "budget": [*BUDGET, _STEP]}

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """See `Translator`; empty for a text that is too long, or a translation without an end.

        Raises:
            ModelError: memory does not suffice for one row.
        """
        names = {"source": name_of(source), "target": name_of(target)}
        groups: dict[int, list[tuple[int, Request]]] = defaultdict(list)
        for at, text in enumerate(texts):
            ids = self._encode(text, names)
            budget = self._budget(text, len(ids))
            if budget:
                groups[budget].append((at, Request(tuple(ids), ((),))))
        translations = [""] * len(texts)
        for budget, asked in groups.items():
            requests = [request for _, request in asked]
            answers = engine.run(self.model, requests, max_new_tokens=budget)
            for (at, _), answered in zip(asked, answers, strict=True):
                translations[at] = self._read(answered.rows[0].ids, budget)
        return translations

    def _encode(self, text: str, names: dict[str, str]) -> list[int]:
        asked = (_ASK if self.chat else _PROMPT).format(text=text, **names)
        return encode_many(self.model, [Prompt(asked)], chat=self.chat)[0]

    def _budget(self, text: str, prompt: int) -> int:
        """New tokens for a text, 0 if the model's context does not hold prompt and translation."""
        need = new_tokens(len(self.model.tokenizer(text)["input_ids"]))
        rounded = -(-need // _STEP) * _STEP
        limit = self.model.context_length
        if limit is None:
            return rounded
        return min(rounded, limit - prompt) if prompt + need <= limit else 0

    def _read(self, ids: tuple[int, ...], budget: int) -> str:
        """The first line of an answer; nothing if neither the line nor the answer has ended."""
        answer = self.model.text_of(list(ids))
        if self.chat:
            answer = answer.lstrip()
        line, end, _ = answer.partition("\n")
        return line.strip() if end or len(ids) < budget else ""
