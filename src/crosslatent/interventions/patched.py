"""Interventions under the user's own forward and ``generate`` calls of ``model.hf``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, TypeGuard

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from crosslatent.core.errors import PairError, PromptError
from crosslatent.core.specs import Component, Site, check_component, resolve_layer
from crosslatent.interventions.intervention import Intervention, check_row
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.interventions.rewrites import EVERYWHERE, Window, rewrites
from crosslatent.model import Model, rewriting
from crosslatent.model.caches import NAMES, cache_in, named
from crosslatent.model.modes import evaluating, evaluating_calls
from crosslatent.model.prompts import last_real


@contextmanager
def patched(
    model: Model,
    vectors: Mapping[Component, Float[Tensor, "*prompts layers width"]],
    *,
    component: str,
    source: int,
    target: int,
    strength: float = 1.0,
) -> Iterator[None]:
    """While open, every prompt that enters the model gets the transplant at its last real token.

    The vector lands in the forward that holds the last prompt token (also when `generate` splits
    the prefill into chunks) and nowhere else; each new call is armed again. Outside `generate`, the
    prompt is what the first forward with an empty cache holds. Hooks are gone on leaving, after an
    exception too.

    Every call runs in evaluation mode, whatever mode the model is in; all else of the call is the
    user's: its generation config, autocast, precision, gradients, and hooks that are there.

    In an encoder-decoder model, the prompt's last token is the last one that the decoder is given
    (docs/methods.md, 1.5): its start token, or the first token that `generate` forces after it.

    Args:
        model: the model; call ``model.hf`` inside.
        vectors: what `capture` returned, of one prompt (for all rows), or of several (one for each
            row of the batch; rows of a beam search share their prompt's).
        component: which of them to use, and where it lands.
        source: layer to take the vector from; -1 is the last.
        target: layer to put it in; -1 is the last.
        strength: alpha in own + alpha * (vector - own); 1 is the paper's replacement.

    Raises:
        PairError: a component or a layer that the model does not have.
        PromptError: inside, if `generate` gets a right-padded batch or an assistant, or a decoder
            gets no first token.
    """
    kind = model.check_component(check_component(component))
    if kind not in vectors:
        raise PairError(
            f"No {kind!r} vectors were captured, only {', '.join(vectors) or 'none'}: "
            f"pass components=[{kind!r}] to capture."
        )
    i = resolve_layer(source, model.n_layers, "source")
    j = resolve_layer(target, model.n_layers, "target")
    chosen = vectors[kind][..., i, :]
    prompts = [chosen] if chosen.dim() == 1 else list(chosen)
    with intervened(model, [(Transplant(Site(kind, j), vector, strength),) for vector in prompts]):
        yield


@contextmanager
def intervened(model: Model, rows: Sequence[tuple[Intervention, ...]]) -> Iterator[None]:
    """While open, every prompt that enters the model is read and answered under interventions.

    As `patched`, for interventions of any kind, on any tokens.

    Args:
        model: the model; call ``model.hf`` inside.
        rows: one tuple of interventions for all rows of the batch, or one for each prompt (rows of
            a beam search share their prompt's), all at the same sites and on as many tokens.

    Raises:
        PairError: a site is changed twice at the end of the prompt, or the rows have different
            sites or tokens.
        PromptError: see `patched`.
    """
    sites = _alike(rows)
    watch = (_DecoderWatch if model.has_encoder else _PromptWatch)(model, rows)
    edits = {site: partial(watch.rewrite, site) for site in sites}
    with watch.attached(), evaluating_calls(model.hf), rewriting(model, edits):
        yield


@contextmanager
def everywhere(model: Model, row: Sequence[Intervention]) -> Iterator[None]:
    """While open, every forward of the model is under interventions on all of its tokens.

    For forwards that are no prompts, such as those over held-out texts: nothing has to be known of
    where a prompt ends.

    Raises:
        PairError: an intervention is not on all tokens.
    """
    for each in row:
        if not each.tokens.everywhere:
            raise PairError(
                f"An intervention at {each.site.component} of block {each.site.layer} changes "
                f"{each.tokens.kind!r} tokens of a prompt, where there is no prompt: give it all "
                "tokens, or use `intervened`."
            )
    with evaluating_calls(model.hf), rewriting(model, rewrites(tuple(row), EVERYWHERE)):
        yield


def _alike(rows: Sequence[tuple[Intervention, ...]]) -> list[Site]:
    """The sites of rows that have the same ones."""
    if not rows:
        raise PairError("There are no interventions: give at least one tuple of them.")
    for row in rows:
        check_row(row, sys.maxsize)
    forms = {tuple((each.site, each.tokens) for each in row) for row in rows}
    if len(forms) > 1:
        raise PairError(
            "The rows of a batch change other sites or tokens than each other: give all of them "
            "the same ones, or run them one by one."
        )
    return list(dict.fromkeys(each.site for each in rows[0]))


class _PromptWatch:
    """Follows the model's forwards and knows which of them holds the last prompt token."""

    _side = ""
    """How the arguments begin that say what counts as the prompt."""
    _nothing = "A forward got neither input_ids nor inputs_embeds: pass one of them."

    def __init__(self, model: Model, rows: Sequence[tuple[Intervention, ...]]) -> None:
        self._model = model
        self._rows = rows
        self._goes_on = any(each.tokens.kind == "all" for each in rows[0])
        """Whether generated tokens are changed, too."""
        self._inside = False
        """Whether `generate` is running."""
        self._generating: int | None = None
        """Columns of the prompt that `generate` was given, if that is known."""
        self._width = 0
        self._read = 0
        """Tokens of the text so far, in the `generate` call that is running."""
        self._window = Window(torch.zeros(0, dtype=torch.long), None)

    def rewrite(
        self, site: Site, hidden: Float[Tensor, "rows pos width"]
    ) -> Float[Tensor, "rows pos width"]:
        """What becomes of a site's value in this forward."""
        if self._window.start is None and not self._goes_on:
            return hidden
        prompts, rows = len(self._rows), hidden.shape[0]
        if prompts == 1:
            return rewrites(self._rows[0], self._window)[site](hidden)
        # Only `generate` makes several rows of one prompt (beams), and it keeps them together.
        if rows % prompts or (rows != prompts and not self._inside):
            raise PromptError(
                f"The vectors are of {prompts} prompts, but the batch has {rows} rows: "
                "capture one prompt, or as many as the batch has."
            )
        parts = zip(self._rows, hidden.chunk(prompts), self._window.split(prompts), strict=True)
        return torch.cat([rewrites(row, window)[site](part) for row, part, window in parts])

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Watch forwards and `generate` calls of the model while open."""
        hf: Any = self._model.hf
        own = vars(hf).get("generate")
        handle = hf.register_forward_pre_hook(self._before_forward, with_kwargs=True)
        hf.generate = self._watched_generate(hf.generate)
        try:
            yield
        finally:
            handle.remove()
            if own is None:
                del hf.generate
            else:
                hf.generate = own

    def _watched_generate(self, generate: Any) -> Any:
        @wraps(generate)
        def watched(*args: Any, **kwargs: Any) -> Any:
            given = named(generate, args, kwargs)
            _refuse_assistants(self._model, given)
            self._begin(given)
            self._inside, self._read = True, 0
            try:
                # It runs an encoder by itself, which is no forward of the whole model.
                with evaluating(self._model.hf):
                    return generate(*args, **kwargs)
            finally:
                self._inside, self._generating = False, None

        return watched

    def _begin(self, given: Mapping[str, Any]) -> None:
        """Note what `generate` is given."""
        inputs = _first(given, ("inputs_embeds", "inputs", "input_ids"))
        self._generating = None if inputs is None else int(inputs.shape[1])
        _refuse_right_padding(given.get("attention_mask"))

    def _before_forward(self, module: Any, args: Any, kwargs: Any) -> None:
        given = named(module.forward, args, kwargs)
        tokens = self._tokens(given)
        start = self._start(given, tokens.shape[1])
        if self._generating is None and start == 0:
            self._width = self._begins_with(int(tokens.shape[1]))
            if self._inside:
                self._generating = self._width
        elif self._generating is not None:
            self._width = self._generating
        if start >= self._width:
            self._window.start = None
            return
        mask = given.get(f"{self._side}attention_mask")
        self._window = Window(self._last(mask, tokens), start)
        self._window.lengths = self._window.last + 1
        if _is_plain(mask) and mask.shape[1] >= self._width:
            self._window.lengths = mask[:, : self._width].sum(-1).to(self._window.last.device)

    def _tokens(self, given: Mapping[str, Any]) -> Shaped[Tensor, "rows pos *d_model"]:
        """What a forward reads, token ids or embeddings."""
        names = (f"{self._side}input_ids", f"{self._side}inputs_embeds")
        tokens: Tensor | None = _first(given, names)
        if tokens is None:
            raise PromptError(self._nothing)
        return tokens

    def _start(self, given: Mapping[str, Any], n_tokens: int) -> int:
        """How many tokens have been read before this forward.

        Raises:
            PromptError: `generate` goes on after a forward, but what that left is not here, and
                neither are its tokens.
        """
        cache = cache_in(given)
        start = 0 if cache is None else int(cache.get_seq_length())
        before, self._read = self._read, start + n_tokens
        if self._inside and start == 0 and n_tokens <= before:
            raise PromptError(
                f"generate goes on with {n_tokens} tokens after {before}, and without a cache that "
                f"holds any (known names: {', '.join(NAMES)}), so that the prompt's end cannot be "
                "found: use a model and a version of transformers that hand one over, or pass "
                "use_cache=False."
            )
        return start

    def _begins_with(self, n_tokens: int) -> int:
        """Tokens of the prompt, given how many the first forward reads."""
        return n_tokens

    def _last(self, mask: Any, tokens: Shaped[Tensor, "rows pos *d_model"]) -> Int[Tensor, " rows"]:
        """Column of each row's last real prompt token; a mask may show only the columns so far."""
        last = torch.full((tokens.shape[0],), self._width - 1, device=tokens.device)
        if mask is None:
            return last
        if not _is_plain(mask):
            if self._inside:  # made of one that has been seen, without padding on the right
                return last
            shown = f"{mask.dim()} dimensions" if isinstance(mask, Tensor) else type(mask).__name__
            raise PromptError(
                f"A forward got an attention mask ({shown}) that does not say where each "
                "prompt ends: pass one of 2 dimensions, 1 for tokens and 0 for padding."
            )
        if mask.shape[1] < self._width:
            return last
        if self._inside:
            _refuse_right_padding(mask[:, : self._width])
        return last_real(mask[:, : self._width])


class _DecoderWatch(_PromptWatch):
    """The same for an encoder-decoder: the tokens that count are those given to the decoder."""

    _side = "decoder_"
    _nothing = (
        "The model's decoder got nothing to begin with: pass decoder_input_ids, or call generate."
    )

    def __init__(self, model: Model, rows: Sequence[tuple[Intervention, ...]]) -> None:
        super().__init__(model, rows)
        self._is_forced = False

    def _begin(self, given: Mapping[str, Any]) -> None:
        self._is_forced = _setting(self._model, given, "forced_bos_token_id") is not None

    def _begins_with(self, n_tokens: int) -> int:
        # The logits processor of transformers forces a token after a single one.
        return n_tokens + (self._inside and self._is_forced and n_tokens == 1)


def _first(given: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The first of some arguments that there is; None if there is none."""
    return next((given[name] for name in names if given.get(name) is not None), None)


def _is_plain(mask: Any) -> TypeGuard[Tensor]:
    """Whether a mask says for each row which columns are tokens, rows pos."""
    return isinstance(mask, Tensor) and mask.dim() == 2


def _refuse_right_padding(mask: Any) -> None:
    if _is_plain(mask) and not bool(mask[:, -1].all()):
        raise PromptError(
            "generate got a right-padded batch, where new tokens would follow padding: "
            'tokenize with padding_side="left".'
        )


def _setting(model: Model, given: Mapping[str, Any], name: str) -> Any:
    """A setting of a `generate` call, or None: it is made in one of three places."""
    if name in given:
        return given[name]
    configs = (given.get("generation_config"), getattr(model.hf, "generation_config", None))
    found = (getattr(config, name, None) for config in configs)
    return next((value for value in found if value is not None), None)


_ASSISTANTS = ("assistant_model", "assistant_early_exit", "prompt_lookup_num_tokens")


def _refuse_assistants(model: Model, given: Mapping[str, Any]) -> None:
    for name in _ASSISTANTS:
        if _setting(model, given, name) is not None:
            raise PromptError(
                f"generate got {name}, which puts guessed tokens behind the prompt in the forward "
                "that is patched: leave it out."
            )
