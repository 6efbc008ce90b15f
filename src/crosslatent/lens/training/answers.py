"""The objective "answers": cross-entropy on gold answers, the baseline of supervised fine-tuning.

As xSFT in Lens (arXiv 2410.04407, section 4), but on the same blocks and questions as the objective
"lens". Here every prompt is a row, there all languages of a text are one, so passes have different
numbers of steps; `TrainSpec.max_steps` makes them equal.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from crosslatent.core.errors import ModelError, UsageError
from crosslatent.core.seen import Seen, row_key
from crosslatent.core.specs import FINAL, AsChat
from crosslatent.lens.states import token_limit
from crosslatent.lens.training.batches import Ids, pieces_of
from crosslatent.lens.training.frozen_cache import FrozenCache, batches
from crosslatent.lens.training.job import Job, Made, everything_seen
from crosslatent.lens.training.objective import PIECE_TOKENS, gather
from crosslatent.lens.training.preconditions import check
from crosslatent.lens.training.train_spec import TrainSpec
from crosslatent.lens.training.trained_blocks import TrainedBlocks, autocast
from crosslatent.model import Model, encode_batch
from crosslatent.model.chat import Prompt, check_chat
from crosslatent.model.continuation import context_of, written
from crosslatent.model.modes import answering
from crosslatent.model.prompts import encode_many
from crosslatent.tasks import Item
from crosslatent.tasks.fingerprints import fact_key, fact_of, text_key

ANSWER = "answer"
"""Name of the only term, in nats per token."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt with its gold answer.

    Attributes:
        lang: language of both.
        group: the fact that is asked.
        ids: token ids of the prompt and of the answer.
        asked: how many of them are the prompt's.
        wanted: the answer's token ids, and the one that ends it if the model has one.
        texts: the question, and those that stand solved before it.
        fact: the fact, if one was named; see `tasks.fingerprints.fact_of`.
    """

    lang: str
    group: str
    ids: Ids
    asked: int
    wanted: Ids
    texts: tuple[str, ...] = ()
    fact: str | None = None

    @property
    def positions(self) -> range:
        """Where `wanted` is predicted: from the prompt's last token on."""
        return range(self.asked - 1, self.asked - 1 + len(self.wanted))


@dataclass(frozen=True, slots=True)
class AnswerObjective:
    """Mean cross-entropy over the tokens of answers.

    Attributes:
        model: the fork that is trained.
        top: its trained blocks and what is above them.
        samples: prompts with answers.
        trunks: what enters `top`, by language.
        precision: "float32" or "bfloat16"; the loss itself is in float32.
    """

    model: Model
    top: TrainedBlocks
    samples: Sequence[Sample]
    trunks: Mapping[str, FrozenCache]
    precision: str

    def sizes(self, rows: Sequence[int]) -> dict[str, float]:
        """Tokens to be predicted."""
        return {ANSWER: float(sum(len(self.samples[row].wanted) for row in rows))}

    def pieces(self, rows: Sequence[int]) -> list[list[int]]:
        """The rows in pieces that fit into memory together with what their gradient takes."""
        tokens = {row: len(self.samples[row].ids) for row in rows}
        return pieces_of(rows, tokens, PIECE_TOKENS.get(self.model.device.type))

    def terms(self, rows: Sequence[int], sizes: Mapping[str, float]) -> dict[str, Tensor]:
        """Summed cross-entropy of these rows, divided by the tokens of all rows of `sizes`."""
        chosen = sorted((self.samples[row] for row in rows), key=lambda one: len(one.ids))
        sums = []
        for lang in sorted({sample.lang for sample in chosen}):
            having = [sample for sample in chosen if sample.lang == lang]
            # The same ids may stand in two samples; a batch keeps the order of both.
            start = 0
            for ids in batches([sample.ids for sample in having], self.model, 2**62):
                sums.append(self._sum(having[start : start + len(ids)], lang))
                start += len(ids)
        return {ANSWER: torch.stack(sums).sum() / sizes[ANSWER]}

    def loss(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The one term."""
        return terms[ANSWER]

    def _sum(self, samples: Sequence[Sample], lang: str) -> Tensor:
        batch = encode_batch(self.model, [sample.ids for sample in samples], "right")
        device = self.model.device
        rows = [row for row, sample in enumerate(samples) for _ in sample.positions]
        columns = [column for sample in samples for column in sample.positions]
        wanted = torch.tensor([token for sample in samples for token in sample.wanted])
        entering = None
        if self.top.first:
            entering = gather(self.trunks[lang], [sample.ids for sample in samples], device)
        with autocast(self.model, self.precision):
            states = self.top(batch, entering)[FINAL]
            logits = head(self.model, states[rows, columns])
        return cross_entropy(logits.float(), wanted.to(device), reduction="sum")


def head(model: Model, states: Tensor) -> Tensor:
    """Logits of final states, n d_model -> n vocab, with the cap that some families put on them."""
    module = model.hf.get_output_embeddings()
    logits: Tensor = module(states)
    cap = getattr(model.hf.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap


def check_head(model: Model, ids: Sequence[int]) -> None:
    """Refuse a model whose logits are not those of `head`: a loss would be of something else.

    Raises:
        ModelError: they differ.
    """
    batch = encode_batch(model, [ids], "right")
    ((_, inputs),) = batch.parts()
    decoder: Any = model.hf.base_model
    with answering(model.hf):
        expected = model.hf(**inputs, use_cache=False).logits[0].float()
        found = head(model, decoder(**inputs, use_cache=False)[0][0]).float()
    if not torch.allclose(found, expected, rtol=1e-2, atol=1e-2):
        raise ModelError(
            f"The logits of {model.name} are not its head's output alone (they differ by "
            f"{float((found - expected).abs().max()):.2g}): train on parallel texts instead."
        )


def job_of(
    model: Model,
    items: Sequence[Item],
    spec: TrainSpec,
    about: dict[str, Any],
    task: str | None = None,
) -> Job:
    """Training on the gold answers of a task's items.

    Raises:
        UsageError: no item has a gold answer and fits; blocks that the model does not have.
        ModelError: the model's logits are not its head's output.
    """
    languages = list(dict.fromkeys(item.lang for item in items))
    check(spec, model, None, languages)
    if spec.chat:
        check_chat(model)
    samples, left_out = samples_of(model, items, spec)
    check_head(model, samples[0].ids)
    targets = [lang for lang in languages if any(one.lang == lang for one in samples)]
    central = _central(items) if spec.central_answers else None

    def make(made: Made) -> AnswerObjective:
        return AnswerObjective(made.tuned, made.top, samples, made.trunks, made.precision)

    spoken = dict.fromkeys(sample.lang for sample in samples)
    texts = {lang: [one.ids for one in samples if one.lang == lang] for lang in spoken}
    content = json.dumps([[one.lang, one.group, one.ids, one.wanted] for one in samples])
    return Job(
        objective="answers",
        model=model,
        spec=spec,
        languages=[lang for lang in targets if lang != central],
        central=central,
        layers=(FINAL,),
        texts=texts,
        groups=[sample.group for sample in samples],
        left_out=left_out,
        cut=dict.fromkeys(texts, 0),
        data=hashlib.sha256(content.encode()).hexdigest()[:16],
        make=make,
        about=about,
        seen=everything_seen(_seen(samples, task), model),
    )


def _seen(samples: Sequence[Sample], task: str | None) -> Seen:
    """Hashes of the prompts, without their answers."""
    return Seen.of(
        rows=(row_key(one.ids[: one.asked]) for one in samples),
        texts=(text_key(text) for one in samples for text in one.texts),
        facts=(fact_key(one.fact, task) for one in samples if one.fact is not None),
    )


def _central(items: Sequence[Item]) -> str | None:
    counts = Counter(item.aux_lang for item in items if item.aux)
    return counts.most_common(1)[0][0] if counts else None


def samples_of(model: Model, items: Sequence[Item], spec: TrainSpec) -> tuple[list[Sample], int]:
    """Prompts with gold answers, each once, and how many have none or do not fit.

    Nothing is cut: a prompt without its end asks something else.

    Raises:
        UsageError: there is no prompt with an answer.
    """
    found: dict[tuple[Ids, Ids], Sample] = {}
    left_out = 0
    limit = token_limit(model, spec.max_tokens)
    for item in items:
        left_out += item.answer is None
        for one in _of_item(model, item, spec):
            if limit is not None and len(one.ids) > limit:
                left_out += 1
            else:
                found.setdefault((one.ids, one.wanted), one)
    if not found:
        raise UsageError(
            f"None of {len(items)} items has a gold answer and at most {limit} tokens: give other "
            "ones, or raise the limit."
        )
    return list(found.values()), left_out


def _of_item(model: Model, item: Item, spec: TrainSpec) -> Iterator[Sample]:
    main = Prompt(item.main, tuple((shot.main, shot.main_answer) for shot in item.shots))
    if item.answer is not None:
        yield _sample(model, item.lang, item, main, item.answer, spec.as_chat)
    if not (spec.central_answers and item.aux):
        return
    other = item.as_aux()
    if other.answer is not None:
        aux = Prompt(item.aux, tuple((shot.aux, shot.aux_answer) for shot in item.shots))
        yield _sample(model, item.aux_lang, item, aux, other.answer, spec.as_chat)


def _sample(
    model: Model, lang: str, item: Item, prompt: Prompt, answer: str, chat: AsChat
) -> Sample:
    (asked,) = encode_many(model, [prompt], chat=chat)
    said = spelling(model, prompt, asked, answer, chat=chat)
    end = end_of(model)
    wanted = said if end is None else (*said, end)
    texts = (prompt.text, *(question for question, _ in prompt.shots))
    ids = (*asked, *said)
    return Sample(lang, item.cluster, ids, len(asked), wanted, texts, fact_of(item))


def spelling(
    model: Model, prompt: Prompt, asked: Sequence[int], answer: str, *, chat: AsChat
) -> Ids:
    """Token ids of an answer as they follow a prompt.

    A blank precedes it, unless the prompt ends in a blank, in a wide character (Chinese, Japanese)
    or in a template.
    """
    text = prompt.plain()
    joined = chat or text[-1:].isspace() or unicodedata.east_asian_width(text[-1]) in "WF"
    context = context_of(model, prompt, asked, chat=chat)
    (found,) = written(model, [(context, answer if joined else f" {answer}")])
    return found.ids


def end_of(model: Model) -> int | None:
    """The token that ends an answer; None if the model has none."""
    known = model.eos_ids
    own = model.tokenizer.eos_token_id
    if own in known or not known:
        return own if own in known else None
    return min(known)
