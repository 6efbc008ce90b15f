"""What translates: models of transformers made for it, or the model that is being studied."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from packaging.version import Version
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from crosslatent import engine
from crosslatent.core.errors import ModelError
from crosslatent.core.hub import tried_once
from crosslatent.core.imports import install_command
from crosslatent.core.languages import name_of
from crosslatent.core.specs import AsChat, Chat
from crosslatent.engine.memory import MOST_TOKENS, MOST_TOKENS_ELSEWHERE, attempt, release
from crosslatent.engine.requests import Request
from crosslatent.model import Model
from crosslatent.model.chat import Prompt, check_chat, put_as_chat
from crosslatent.model.folder import check_folder
from crosslatent.model.loading import resolve_device, resolve_dtype
from crosslatent.model.model import identity_of
from crosslatent.model.modes import generating
from crosslatent.model.prompts import encode_many
from crosslatent.model.structure import refuse_encoder
from crosslatent.translate.language_codes import (
    Direction,
    ModelFamily,
    check_pair,
    direction,
    family_of,
)
from crosslatent.translate.translations import BUDGET, new_tokens

LEAST_TRANSFORMERS = "5.18"
"""The oldest version that all families have been tested with."""
_LONGEST = 1024
"""Tokens of a text for a model whose config does not say how many it takes."""
_OWN_SETTINGS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "bad_words_ids",  # Marian must not generate its padding token
)
"""What is kept of a model's own generation config; beams, penalties and lengths are not."""


@dataclass(frozen=True, slots=True)
class Seq2SeqTranslator:
    """A translation model; made by `load_translator`.

    Attributes:
        hf: the model.
        tokenizer: its tokenizer.
        family: how it takes the languages.
        known: codes of the languages that it knows, with their tokens; empty for a single pair.
        name: what it was loaded from.
        identity: plain data that decides what comes out.
        decoding: the settings of `generate`, and all of them.
    """

    hf: PreTrainedModel = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    family: ModelFamily
    known: dict[str, int] = field(repr=False)
    name: str
    identity: dict[str, Any] = field(repr=False)
    decoding: GenerationConfig = field(repr=False)

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """See `Translator`; empty for a text that is too long, or a translation without an end.

        Raises:
            ModelError: the model does not know a language, or memory does not suffice for one text.
        """
        if not self.family.form:
            check_pair(self.tokenizer, self.name, source, target)
        way = direction(self.family, self.known, self.name, source, target)
        if way.source is not None:
            self.tokenizer.src_lang = way.source
        encoded = {at: self._encode(way, text) for at, text in enumerate(texts)}
        fitting = {at: ids for at, ids in encoded.items() if len(ids) <= self._longest}
        translations = [""] * len(texts)
        for batch in self._batches(fitting):
            answers = self._answer([fitting[at] for at in batch], way)
            for at, answer in zip(batch, answers, strict=True):
                translations[at] = answer
        return translations

    @property
    def _longest(self) -> int:
        return getattr(self.hf.config, "max_position_embeddings", None) or _LONGEST

    def _encode(self, way: Direction, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(way.prefix + text)["input_ids"]
        if way.marker is not None and way.marker not in ids:
            raise ModelError(
                f"The tokenizer of {self.name!r} does not read its own token "
                f"{way.prefix.strip()!r} as one: its files are incomplete, fetch them again."
            )
        return ids

    def _batches(self, encoded: dict[int, list[int]]) -> Iterator[list[int]]:
        """Numbers of texts, longest first, with as many tokens together as memory may hold."""
        most = MOST_TOKENS.get(self.hf.device.type, MOST_TOKENS_ELSEWHERE)
        order = sorted(encoded, key=lambda at: -len(encoded[at]))
        while order:
            size = max(1, most // max(1, len(encoded[order[0]])))
            yield order[:size]
            order = order[size:]

    def _answer(self, texts: list[list[int]], way: Direction) -> list[str]:
        """Translate a batch; half of it at a time if memory runs out."""
        done, failed = attempt(partial(self._generate, texts, way))
        if done is not None:
            return [
                self._read(row, self._budget(ids)) for ids, row in zip(texts, done, strict=True)
            ]
        release([self.hf.device])
        if len(texts) == 1:
            raise ModelError(
                f"Memory does not suffice to translate one text with {self.name!r} ({failed}): use "
                "a smaller dtype or model, or another device."
            )
        middle = len(texts) // 2
        return self._answer(texts[:middle], way) + self._answer(texts[middle:], way)

    def _budget(self, ids: list[int]) -> int:
        """New tokens for a text, the start token and the end token left out."""
        return min(new_tokens(len(ids)), self._longest - 2)

    def _generate(self, texts: list[list[int]], way: Direction) -> list[list[int]]:
        """Token ids that follow the start token, one row a text."""
        width = max(map(len, texts))
        # Padding is masked and on the right: real tokens stand at the same positions as alone.
        ids = torch.full((len(texts), width), self.hf.config.pad_token_id or 0)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        settings = copy.copy(self.decoding)
        settings.max_new_tokens = max(map(self._budget, texts))
        settings.forced_bos_token_id = way.first
        with generating(self.hf, settings):
            out = self.hf.generate(  # type: ignore[operator]
                input_ids=ids.to(self.hf.device),
                attention_mask=mask.to(self.hf.device),
                generation_config=settings,
            )
        rows: list[list[int]] = out[:, 1:].tolist()
        return rows

    def _read(self, row: list[int], budget: int) -> str:
        """The text up to the end token; empty if there is none within the budget."""
        ends = self.decoding.eos_token_id
        stop = [at for at, token in enumerate(row[:budget]) if token in _listed(ends)]
        if not stop:
            return ""
        # Not every tokenizer counts its language tokens among the special ones.
        languages = set(self.known.values())
        ids = [token for token in row[: stop[0]] if token not in languages]
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def load_translator(
    path: str | Path, *, device: str = "auto", dtype: str = "auto", revision: str | None = None
) -> Seq2SeqTranslator:
    """Load a translation model and its tokenizer.

    Args:
        path: a local folder, or a name on the hub.
        device: "auto" (CUDA, then MPS, then CPU), or a torch device such as "cuda:1".
        dtype: "auto" (float32 on the CPU, else as stored), "float32", "bfloat16" or "float16".
        revision: branch, tag or commit on the hub.

    Raises:
        ModelError: no such model, no safetensors weights, no translation model, or of a family
            that is not known.
    """
    _check_version()
    name = str(path)
    where = resolve_device(device)
    kind = resolve_dtype(dtype, where)
    if Path(path).exists():
        check_folder(Path(path))
    with tried_once(path) as offline:
        try:
            config = AutoConfig.from_pretrained(path, revision=revision)
            _check_type(config.model_type, name)
            tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
            hf = AutoModelForSeq2SeqLM.from_pretrained(
                path, config=config, dtype=kind, use_safetensors=True, revision=revision
            )
        except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
            reason = offline or next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ModelError(
                f"Cannot load a translation model from {name!r} ({reason}): give a folder with "
                "config.json, a tokenizer and *.safetensors, or a name that the hub knows; many "
                f"tokenizers need sentencepiece ({install_command('translate')})."
            ) from error
    torch.nn.Module.to(hf, device=where)
    translator = wrap_translator(hf, tokenizer, name=name)
    hf.generation_config = translator.decoding  # for calls of `hf.generate` by hand
    return translator


def _check_version() -> None:
    """Refuse versions whose tokenizers keep the source language of the text before."""
    if Version(transformers.__version__) < Version(LEAST_TRANSFORMERS):
        raise ModelError(
            f"Translation models need transformers {LEAST_TRANSFORMERS} or newer, and this is "
            f"{transformers.__version__}: upgrade it, or let the model translate itself "
            "(--translate-with self)."
        )


def wrap_translator(
    hf: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, name: str
) -> Seq2SeqTranslator:
    """Make a translator of a model that is loaded, which stays as it is.

    Raises:
        ModelError: the model is of a family that is not known.
    """
    family = family_of(hf.config.model_type, tokenizer, name)
    own = hf.generation_config
    kept = {setting: getattr(own, setting, None) for setting in _OWN_SETTINGS}
    decoding = GenerationConfig(do_sample=False, num_beams=1, **kept)
    identity = identity_of(hf, tokenizer) | {
        "family": family.name,
        "budget": list(BUDGET),
        "decoding": "greedy",
    }
    known = family.known(tokenizer)
    return Seq2SeqTranslator(hf, tokenizer, family, known, name, identity, decoding)


def _check_type(model_type: str, name: str) -> None:
    if model_type in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return
    if model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ModelError(
            f"{name!r} is a causal language model (type {model_type!r}), not a translation model: "
            "use `self` to let the model that you study translate, or name a translation model."
        )
    raise ModelError(
        f"{name!r} is of type {model_type!r}, which is no translation model: use NLLB, M2M100, "
        "mBART-50, MADLAD or Marian."
    )


def _listed(ids: int | list[int] | None) -> list[int]:
    if ids is None:
        return []
    return [ids] if isinstance(ids, int) else ids


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
