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
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from crosslatent.answering import prompts_of
from crosslatent.core.errors import ModelError, UsageError
from crosslatent.core.seen import Seen, row_key
from crosslatent.core.settings import documented
from crosslatent.core.specs import FINAL, AsChat
from crosslatent.lens.compatibility import check_training
from crosslatent.lens.states import token_limit
from crosslatent.lens.training.execution import (
    Trained,
    TrainingJob,
    begun,
    carry_out,
    everything_seen,
)
from crosslatent.lens.training.frozen_cache import batches
from crosslatent.lens.training.lens_objective import WHOLE_BATCH
from crosslatent.lens.training.parallel_rows import Ids
from crosslatent.lens.training.train_spec import TrainOptions, TrainSpec
from crosslatent.lens.training.trained_blocks import TrainedBlocks, autocast
from crosslatent.model import Model, encode_batch
from crosslatent.model.chat import Prompt, check_chat
from crosslatent.model.continuation import context_of, written
from crosslatent.model.modes import answering
from crosslatent.model.prompts import encode_many
from crosslatent.tasks import Item, Task
from crosslatent.tasks.task import fact_key, fact_of, text_key

ANSWER = "answer"
"""Name of the only term, in nats per token."""


@dataclass(frozen=True, slots=True)
class AnswerSample:
    """A prompt with its gold answer.

    Attributes:
        lang: language of both.
        group: the fact that is asked.
        ids: token ids of the prompt and of the answer.
        asked: how many of them are the prompt's.
        wanted: the answer's token ids, and the one that ends it if the model has one.
        texts: the question, and those that are solved before it.
        fact: the fact, if one was named; see `tasks.task.fact_of`.
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
    """Mean cross-entropy over the tokens of answers, in float32.

    Attributes:
        top: the trained blocks, on what enters them by language.
        samples: prompts with answers.
    """

    top: TrainedBlocks
    samples: Sequence[AnswerSample]

    def sizes(self, rows: Sequence[int]) -> dict[str, float]:
        """Tokens to be predicted."""
        return {ANSWER: float(sum(len(self.samples[row].wanted) for row in rows))}

    def pieces(self, rows: Sequence[int]) -> list[list[int]]:
        """The rows in pieces that fit into memory together with what their gradient takes."""
        return self.top.pieces({row: len(self.samples[row].ids) for row in rows})

    def terms(self, rows: Sequence[int], sizes: Mapping[str, float]) -> dict[str, Tensor]:
        """Summed cross-entropy of these rows, divided by the tokens of all rows of `sizes`."""
        chosen = sorted((self.samples[row] for row in rows), key=lambda sample: len(sample.ids))
        sums = []
        for lang in sorted({sample.lang for sample in chosen}):
            having = [sample for sample in chosen if sample.lang == lang]
            # Two samples may have the same ids; a batch keeps the order of both.
            start = 0
            for ids in batches([sample.ids for sample in having], self.top.model, WHOLE_BATCH):
                sums.append(self._sum(having[start : start + len(ids)], lang))
                start += len(ids)
        return {ANSWER: torch.stack(sums).sum() / sizes[ANSWER]}

    def loss(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The one term."""
        return terms[ANSWER]

    def _sum(self, samples: Sequence[AnswerSample], lang: str) -> Tensor:
        model = self.top.model
        rows = [row for row, sample in enumerate(samples) for _ in sample.positions]
        columns = [column for sample in samples for column in sample.positions]
        wanted = torch.tensor([token for sample in samples for token in sample.wanted])
        states, _ = self.top.run([sample.ids for sample in samples], lang)
        with autocast(model, self.top.cut.precision):
            logits = head(model, states[FINAL][rows, columns])
        return cross_entropy(logits.float(), wanted.to(model.device), reduction="sum")


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


@documented(TrainOptions)
def train_answers(model: Model, items: Sequence[Item], **options: Unpack[TrainOptions]) -> Trained:
    """Train the same blocks on gold answers instead: the baseline of supervised fine-tuning.

    Cross-entropy on the answer's tokens and the token that ends it, after the prompt in the target
    language and, unless ``spec.central_answers`` is off, after its counterpart (xSFT of
    arXiv 2410.04407, section 4). Frozen cache, blocks and schedule are those of `train`; a prompt
    is a row, so the same questions are more rows and steps than there, unless ``spec.max_steps``
    says how many.

    Args:
        model: left exactly as it is.
        items: questions; those without a gold answer are counted and left out.
        {settings}

    Raises:
        UsageError: no item has a gold answer and fits; blocks that the model does not have.
        ModelError: the model's logits are not its head's output.
        RunFolderError, TrainingError: see `train`.
    """
    spec, settings = begun(options)
    languages = list(dict.fromkeys(item.lang for item in items))
    check_training(spec, model, None, languages)
    if spec.chat:
        check_chat(model)
    samples, left_out = samples_of(model, items, spec)
    check_head(model, samples[0].ids)
    counts = Counter(item.aux_lang for item in items if item.aux and spec.central_answers)
    central = next((lang for lang, _ in counts.most_common(1)), None)
    texts: dict[str, list[Ids]] = {}
    for sample in samples:
        texts.setdefault(sample.lang, []).append(sample.ids)
    content = json.dumps([[one.lang, one.group, one.ids, one.wanted] for one in samples])
    job = TrainingJob(
        objective="answers",
        make=lambda top: AnswerObjective(top, samples),
        model=model,
        spec=spec,
        options=settings,
        languages=[lang for lang in languages if lang in texts and lang != central],
        central=central,
        layers=(FINAL,),
        texts=texts,
        groups=[sample.group for sample in samples],
        left_out=left_out,
        cut=dict.fromkeys(texts, 0),
        data=hashlib.sha256(content.encode()).hexdigest()[:16],
        seen=everything_seen(_seen(samples, settings["task"]), model),
    )
    return carry_out(job)


def _seen(samples: Sequence[AnswerSample], task: Task | None) -> Seen:
    """Hashes of the prompts, without their answers."""
    name = None if task is None else task.name
    return Seen.of(
        rows=(row_key(sample.ids[: sample.asked]) for sample in samples),
        texts=(text_key(text) for sample in samples for text in sample.texts),
        facts=(fact_key(sample.fact, name) for sample in samples if sample.fact is not None),
    )


def samples_of(
    model: Model, items: Sequence[Item], spec: TrainSpec
) -> tuple[list[AnswerSample], int]:
    """Prompts with gold answers, each once, and how many have none or do not fit.

    Nothing is cut: a prompt without its end asks something else.

    Raises:
        UsageError: there is no prompt with an answer.
    """
    samples: dict[tuple[Ids, Ids], AnswerSample] = {}
    left_out = 0
    limit = token_limit(model, spec.max_tokens)
    for item in items:
        left_out += item.answer is None
        for sample in _of_item(model, item, spec):
            if limit is not None and len(sample.ids) > limit:
                left_out += 1
            else:
                samples.setdefault((sample.ids, sample.wanted), sample)
    if not samples:
        raise UsageError(
            f"None of {len(items)} items has a gold answer and at most {limit} tokens: give other "
            "ones, or raise the limit."
        )
    return list(samples.values()), left_out


def _of_item(model: Model, item: Item, spec: TrainSpec) -> Iterator[AnswerSample]:
    asked = (item, item.as_aux()) if spec.central_answers and item.aux else (item,)
    for each, prompt in zip(asked, prompts_of(item), strict=False):
        if each.answer is not None:
            yield _sample(model, each, prompt, each.answer, spec.as_chat)


def _sample(model: Model, item: Item, prompt: Prompt, answer: str, chat: AsChat) -> AnswerSample:
    (asked,) = encode_many(model, [prompt], chat=chat)
    said = spelling(model, prompt, asked, answer, chat=chat)
    end = end_of(model)
    wanted = said if end is None else (*said, end)
    texts = (prompt.text, *(question for question, _ in prompt.shots))
    ids = (*asked, *said)
    return AnswerSample(item.lang, item.cluster, ids, len(asked), wanted, texts, fact_of(item))


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
    own: int | None = model.tokenizer.eos_token_id
    return own if own in model.eos_ids else min(model.eos_ids, default=None)
