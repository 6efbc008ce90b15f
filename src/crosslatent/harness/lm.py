"""`CrosslatentLM`: what the harness asks of a model, answered with a transplant in every prompt."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook, TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import simple_parse_args_string

from crosslatent.core.errors import PromptError, UsageError
from crosslatent.core.specs import chat_of, right_now
from crosslatent.core.untrusted import ends_in_blank
from crosslatent.engine import chosen_path
from crosslatent.harness.answerer import Answerer, Ids, PromptPair, resolve
from crosslatent.harness.aux_tasks import AuxTasks
from crosslatent.harness.command import NAME, Arguments
from crosslatent.model import Model, load
from crosslatent.model.chat import rendered
from crosslatent.model.continuation import Context, written
from crosslatent.model.prompts import left_open
from crosslatent.model.structure import refuse_encoder

_log = logging.getLogger(__name__)

_GREEDY = {"do_sample", "temperature", "top_p", "top_k", "min_p"}
"""Settings of generation that do not matter where the highest logit wins."""

Stops = tuple[str, ...]


@register_model(NAME)
class CrosslatentLM(TemplateLM):  # type: ignore[misc]  # the harness has no types
    """The model `crosslatent` of the harness.

    Prompts are tokenized, and cut from the left if too long, as the harness's own `hf` does it.
    """

    def __init__(self, model: Model, arguments: Arguments) -> None:
        """Wrap a model that is loaded.

        Raises:
            UsageError: a layer or an engine that the model does not have.
            ModelError: an encoder reads its prompts.
        """
        super().__init__()
        # Its tasks are contexts and what continues them, token by token.
        refuse_encoder(model.hf, "The model 'crosslatent' of lm-evaluation-harness", "use a sweep")
        self.model = model
        self.tokenizer = model.tokenizer
        self._arguments = arguments
        # One time for all contexts: counterparts are built later than those of the task.
        self._chat = chat_of(True, arguments.chat_args, right_now())
        self._answers = Answerer(
            model=model,
            path=chosen_path(model, arguments.engine),
            what=resolve(model, arguments.what),
            strength=arguments.strength,
            positions=arguments.positions,
            batch_rows=arguments.batch_rows,
        )
        self._counterparts = AuxTasks(
            arguments.aux, arguments.building, self.apply_chat_template, self.tokenizer_name
        )

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> Self:
        """Load a model from ``name=value,...``; see `create_from_arg_obj`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: Mapping[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> Self:
        """Load a model.

        Args:
            arg_dict: the model arguments; docs/lm-eval.md has a table of them.
            additional_config: batch size and device as flags; model arguments go before them.

        Raises:
            UsageError: an argument is wrong, or the model cannot be loaded.
        """
        flags = {name: value for name, value in (additional_config or {}).items() if value}
        # The harness passes cuda:0 if the user gave no device.
        if str(flags.get("device")).startswith("cuda") and not torch.cuda.is_available():
            del flags["device"]
        arguments = Arguments.of({**flags, **arg_dict})
        model = load(
            arguments.pretrained,
            revision=arguments.revision,
            device=arguments.device,
            dtype=arguments.dtype,
            quantization=arguments.quantization,
            trust_remote_code=arguments.trust_remote_code,
        )
        return cls(model, arguments)

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Log-probability (nats) of each continuation, and whether it is the greedy one.

        Raises:
            UsageError: a document has no counterpart, or a continuation is empty.
        """
        asked = []
        pairs = self._pairs([request.args[:2] for request in requests])
        for (main, option), aux in zip(pairs, self._aux_contexts(requests), strict=True):
            # As in `_encode_pair`: blanks at the end of a context belong to what follows.
            asked.append((PromptPair(main, self._aux_ids(aux and aux.rstrip())), option))
        options: dict[PromptPair, dict[Ids, None]] = defaultdict(dict)
        for prompt, option in asked:
            options[prompt][option] = None
        found = self._answers.scores(
            {prompt: tuple(each) for prompt, each in options.items()}, silent=disable_tqdm
        )
        return [found[each] for each in asked]

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """The greedy answer to each context, up to its first stop.

        Raises:
            UsageError: a document has no counterpart, or sampling is asked for.
        """
        asked = []
        auxes = self._aux_contexts(requests)
        _warn_of_blanks(
            [(request.args[0], aux or "") for request, aux in zip(requests, auxes, strict=True)]
        )
        for request, aux in zip(requests, auxes, strict=True):
            most, stops = self._limits(request.args[1])
            limit = self.model.context_length
            main = self._cut(self.tok_encode(request.args[0]), limit and limit - most)
            asked.append((most, stops, PromptPair(main, self._aux_ids(aux))))
        groups: dict[tuple[int, Stops], list[PromptPair]] = defaultdict(list)
        for most, stops, prompt in asked:
            groups[most, stops].append(prompt)
        answers = {
            (most, stops): self._answers.texts(
                prompts, most, partial(self._has_ended, stops), silent=disable_tqdm
            )
            for (most, stops), prompts in groups.items()
        }
        return [
            _until(self._text(answers[most, stops][prompt]), stops) for most, stops, prompt in asked
        ]

    def loglikelihood_rolling(
        self,
        requests: Sequence[Instance],
        disable_tqdm: bool = False,  # noqa: ARG002 - the harness's signature
    ) -> list[float]:
        """Refused.

        Raises:
            UsageError: always.
        """
        tasks = ", ".join(sorted({str(request.task_name) for request in requests}))
        raise UsageError(
            f"The task {tasks} asks for the likelihood of whole texts, but a transplant needs a "
            "prompt and its counterpart: use tasks of type multiple_choice, loglikelihood or "
            "generate_until."
        )

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Accept ``--use_cache`` for the unmodified model only.

        Raises:
            UsageError: there is a transplant.
        """
        if self._answers.what is not None:
            raise UsageError(
                "--use_cache keeps answers by their prompts alone and would mix up transplants: "
                "leave it out, or use component=none."
            )
        super().set_cache_hook(cache_hook)

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """Token before a continuation that has no context."""
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else int(begin)

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer, as `hf` gives it."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    @property
    def max_gen_toks(self) -> int:
        """Most new tokens, where the task does not say."""
        return self._arguments.max_gen_toks

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Token ids; a text that begins with the begin token (as chats do) gets no second one.

        What the tokenizer puts after a text is left out (`prompts.left_open`).
        """
        special = add_special_tokens
        if special is None and string.startswith(self._begin):
            special = False
        settings = {} if special is None else {"add_special_tokens": special}
        ids: list[int] = self.tokenizer(string, **settings)["input_ids"]
        return left_open(self.model, [string], [ids])[0]

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A chat as a prompt.

        Raises:
            UsageError: the tokenizer has no template, or it refuses a turn or leaves out the system
                instruction.
        """
        text = rendered(
            self.model,
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            chat=self._chat,
        )
        return str(text)

    def get_model_info(self) -> dict[str, Any]:
        """What was run, for the harness's results file."""
        what = self._answers.what
        return {
            "model_num_parameters": self.model.hf.num_parameters(),
            "model_dtype": str(self.model.dtype),
            "model_revision": self._arguments.revision,
            "component": what.component if what else None,
            "source": what.source if what else None,
            "target": what.target if what else None,
            "strength": self._answers.strength,
            "positions": self._answers.positions,
            "aux": self._arguments.aux or None,
            "engine": self._answers.path.name,
        }

    def _loglikelihood_tokens(self, *_: Any, **__: Any) -> list[tuple[float, bool]]:
        raise NotImplementedError("Token ids do not say which document they come from.")

    @property
    def _begin(self) -> str:
        return str(self.tokenizer.decode([self.prefix_token_id]))

    def _aux_contexts(self, requests: Sequence[Instance]) -> Sequence[str | None]:
        """The counterpart of each request; None where nothing is transplanted."""
        if self._answers.what is None:
            return [None] * len(requests)
        _check_contexts(requests)
        return self._counterparts.contexts(requests)

    def _aux_ids(self, context: str | None) -> Ids | None:
        if context is None:
            return None
        return self._cut(self.tok_encode(context), self.model.context_length)

    def _pairs(self, requests: Sequence[tuple[str, str]]) -> list[tuple[Ids, Ids]]:
        """Token ids of contexts and continuations, split and cut as `hf` does it.

        Except where the two as one text have other tokens at the context's end: what `hf` takes for
        the continuation there is the rest of another text (see `model.continuation`).
        """
        split = [_without_blanks(*request) for request in requests]
        contexts = [self._context(before) for before, _ in split]
        both = list(zip(contexts, split, strict=True))
        found = written(self.model, [(each, after) for each, (before, after) in both if before])
        rest = iter(found)
        pairs = []
        for context, (before, after) in both:
            ids = (context.ids, next(rest).ids) if before else self._without_context(after)
            pairs.append(self._fitting(*ids, after))
        if moved := sum(each.moved for each in found):
            _log.warning(
                "In %d of %d requests context and continuation would have other tokens as one text "
                "at the context's end; the context's stay, and the continuation has those that "
                "decode to it after them.",
                moved,
                len(requests),
            )
        return pairs

    def _context(self, text: str) -> Context:
        special = not text.startswith(self._begin)
        return Context(text, tuple(self.tok_encode(text)), special)

    def _without_context(self, continuation: str) -> tuple[Ids, Ids]:
        """A continuation after the begin token alone."""
        after = tuple(self.tok_encode(continuation, add_special_tokens=False))
        begin = (self.prefix_token_id,)
        return (after[:1], after[1:]) if after[:1] == begin else (begin, after)

    def _fitting(self, before: Ids, after: Ids, continuation: str) -> tuple[Ids, Ids]:
        """Context and continuation, cut from the left."""
        if not after:
            raise PromptError(
                f"The continuation {continuation!r} has no tokens of its own: give a task whose "
                "choices are texts."
            )
        # The last token is only predicted, never read.
        limit = self.model.context_length
        return self._cut(before, limit and limit + 1 - len(after)), after

    def _cut(self, ids: Sequence[int], room: int | None) -> Ids:
        """The end of a prompt that is too long."""
        if not ids:
            raise PromptError("A context has no tokens: give a task whose contexts are texts.")
        if room is None or len(ids) <= room:
            return tuple(ids)
        if room < 1:
            raise PromptError(
                f"The model's context of {self.model.context_length} tokens leaves no room for a "
                "prompt beside its answer: use a smaller max_gen_toks, or shorter choices."
            )
        _log.warning("A prompt of %d tokens is cut from the left to %d.", len(ids), room)
        return tuple(ids[-room:])

    def _limits(self, settings: Mapping[str, Any]) -> tuple[int, Stops]:
        """Most new tokens, and the stops."""
        normal = normalize_gen_kwargs(dict(settings), self.max_gen_toks)
        most, until = normal.pop("max_gen_toks"), normal.pop("until", [])
        other = sorted(set(normal) - _GREEDY)
        if normal["do_sample"] or other:
            raise UsageError(
                f"The task asks for generation with {', '.join(other) or 'sampling'}, but answers "
                "are decoded greedily: give --gen_kwargs do_sample=False, or another task."
            )
        return most, tuple(stop for stop in until if stop)

    def _has_ended(self, stops: Stops, ids: Ids) -> bool:
        text = self._text(ids)
        return self.eot_token_id in ids or any(stop in text for stop in stops)

    def _text(self, ids: Ids) -> str:
        end = ids.index(self.eot_token_id) if self.eot_token_id in ids else len(ids)
        return self.model.text_of(list(ids[:end]))


def _until(text: str, stops: Stops) -> str:
    for stop in stops:
        text = text.partition(stop)[0]
    return text


def _without_blanks(context: str, continuation: str) -> tuple[str, str]:
    """Blanks at the end of a context belong to its continuation, as `hf` has it."""
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation


def _warn_of_blanks(contexts: Sequence[tuple[str, str]]) -> None:
    both = sum(ends_in_blank(main) and ends_in_blank(aux) for main, aux in contexts)
    if both:
        _log.warning(
            "%d of %d prompts end in a blank in main and in aux; the transplant happens at this "
            "token, and models hardly go on after it, so take the blank out of the task.",
            both,
            len(contexts),
        )


def _check_contexts(requests: Sequence[Instance]) -> None:
    """Refuse documents without a context; a choice without one is scored on purpose.

    Mutual information compares a choice after its context with the choice alone.
    """
    documents: dict[tuple[Any, Any], bool] = defaultdict(bool)
    for request in requests:
        documents[request.task_name, request.doc_id] |= bool(request.args[0])
    for (task, doc_id), has_context in documents.items():
        if not has_context:
            raise PromptError(
                f"Document {doc_id} of task {task!r} has an empty context, but a transplant needs "
                "a prompt: use a task that asks something."
            )
