"""The comparison with the oracle fails when the engine is broken on purpose.

Every sabotage leaves the engine running: it is the comparison that must notice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch

from crosslatent import engine
from crosslatent.core.specs import SHARED_PREFIX
from crosslatent.engine import EnginePath, option_tree, oracle, shared
from crosslatent.engine.decoding import Decoded
from crosslatent.engine.prefix_attention import Scoring
from crosslatent.engine.prefix_cache import Prefix, SharedCache, SuffixLayer
from crosslatent.engine.prefix_layout import Copies, SlotBlock, Step
from crosslatent.engine.requests import Request
from crosslatent.engine.shared import SharedRows
from crosslatent.interventions.kinds import transplant
from crosslatent.model import Model
from support.rows import AUX, MAIN, all_rows, assert_equal, ids_of, wrapped

OPTIONS = ((40, 41, 42), (40, 41, 43), (70, 71), (60,))
WINDOWS = (None, 9)


@cache
def asked(window: int | None) -> tuple[Model, tuple[Request, ...], list[list[Decoded]]]:
    """Rows of three prompts, decoded and scored, and what the oracle gives for them.

    The prompts have different lengths, and answers end early, each row's at another time.
    """
    model = wrapped("mistral", sliding_window=window)
    rows = tuple(all_rows(model, ids_of(model, AUX)))
    model.hf.generation_config.eos_token_id = list(range(0, 256, 9))
    requests = tuple(
        Request(tuple(ids_of(model, text)), rows, (5,), OPTIONS) for text in (MAIN, MAIN[:20], AUX)
    )
    slow = [
        oracle.run_rows(model, each.main, rows, max_new_tokens=5, watch=(5,), options=OPTIONS)
        for each in requests
    ]
    return model, requests, slow


@pytest.fixture(scope="module", autouse=True)
def _right_answers() -> None:
    """Known before anything is broken."""
    for window in WINDOWS:
        asked(window)


def compare() -> None:
    """The engine against the oracle, with windows and without."""
    for window in WINDOWS:
        model, requests, slow = asked(window)
        fast = engine.run(model, requests, max_new_tokens=5, path=EnginePath(SHARED_PREFIX))
        for answered, right in zip(fast, slow, strict=True):
            assert_equal(answered.rows, right)


def test_the_engine_as_it_is_passes():
    compare()


def replaced(place: object, name: str) -> Callable:
    """Decorator: a sabotage is a function that gets the right one and its arguments."""

    def decorate(wrong: Callable) -> Callable[[pytest.MonkeyPatch], None]:
        def apply(monkeypatch: pytest.MonkeyPatch) -> None:
            right = getattr(place, name)
            monkeypatch.setattr(place, name, lambda *args, **kw: wrong(right, *args, **kw))

        apply.__name__ = wrong.__name__
        return apply

    return decorate


@replaced(SharedRows, "read")
def wrong_position(right, rows, tokens, step, keep):
    rows._lengths = rows._lengths + (rows.depth == 0)
    return right(rows, tokens, step, keep)


@replaced(shared, "_read_prefixes")
def prefix_off_by_one(right, model, starts, chunk, window):
    return right(model, [start[1:] for start in starts], chunk, window)


@replaced(shared, "rewrites_by_row")
def edits_left_out(right, rows, first):
    return {}


@replaced(transplant, "blend")
def vectors_of_the_next_row(right, own, vector, strength):
    return right(own, vector.roll(1, 0), strength)


@replaced(transplant, "blend")
def strength_ignored(right, own, vector, strength):
    return right(own, vector, 0.5)


@replaced(SuffixLayer, "update")
def stale_suffix(right, layer, keys, values, *_rest, **_more):
    """What a row has read before is overwritten by its newest token."""
    found = right(layer, keys, values)
    for held in found:
        held[:, :, : -keys.shape[-2]] = held[:, :, -1:]
    return found


@replaced(SuffixLayer, "update")
def suffix_of_the_first_row(right, layer, keys, values, *_rest, **_more):
    return right(layer, keys[:1].expand_as(keys), values[:1].expand_as(values))


@replaced(SharedCache, "keep")
def caches_do_not_follow_their_rows(right, cache, rows):
    right(cache, rows.flip(0))


@replaced(SharedCache, "forget")
def options_are_not_forgotten(right, cache, tokens):
    right(cache, 0)


@replaced(shared.Growth, "hidden")
def rows_join_from_another_prompt(right, plan, layer, value):
    plan.groups[plan._n_groups :] = plan.groups[plan._n_groups :].roll(1)
    return right(plan, layer, value)


@replaced(shared.Growth, "hidden")
def rows_join_as_they_were_a_block_before(right, plan, layer, value):
    grown = right(plan, layer, value)
    stale, plan.seen = getattr(plan, "seen", value), value.clone()
    joined = len(grown) - len(value)
    if layer and joined:
        grown[-joined:] = stale[plan.groups[len(value) : len(grown)]]
    return grown


@replaced(shared.Growth, "context")
def positions_of_the_first_rows_only(right, plan, layer, value):
    wide = right(plan, layer, value)
    return wide[:1].expand_as(wide) if isinstance(wide, torch.Tensor) else wide


@replaced(Step, "hides_prefix")
def padding_is_seen(right, step, pads, *rest):
    return right(step, Copies(pads.here * 0), *rest)


@replaced(Step, "hides_prefix")
def window_is_ignored(right, step, pads, length, kept, reach, device):
    return right(step, pads, length, kept, None, device)


@replaced(option_tree, "Step")
def options_see_each_other(right, depths, seen):
    return right(depths, torch.ones_like(seen).tril())


@replaced(SlotBlock, "gather")
def prefixes_are_mixed_up(right, part, rows):
    return right(part, rows).roll(1, 0)


@replaced(Scoring, "weights")
def one_softmax_for_the_prefix_alone(right, scoring, scores, hidden):
    return right(scoring, scores, hidden) * 0.9


@replaced(Prefix, "of")
def values_of_the_prefix_are_lost(right, *args):
    prefix = right(*args)
    for layer in prefix.layers:
        layer.values = layer.values * 0
    return prefix


SABOTAGES = [
    wrong_position,
    prefix_off_by_one,
    edits_left_out,
    vectors_of_the_next_row,
    strength_ignored,
    stale_suffix,
    suffix_of_the_first_row,
    caches_do_not_follow_their_rows,
    options_are_not_forgotten,
    rows_join_from_another_prompt,
    rows_join_as_they_were_a_block_before,
    positions_of_the_first_rows_only,
    padding_is_seen,
    window_is_ignored,
    options_see_each_other,
    prefixes_are_mixed_up,
    one_softmax_for_the_prefix_alone,
    values_of_the_prefix_are_lost,
]


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.__name__)
def test_the_comparison_notices(monkeypatch, sabotage):
    sabotage(monkeypatch)
    with pytest.raises(AssertionError):
        compare()
