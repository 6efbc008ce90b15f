"""The arithmetic of what a sweep costs."""

from __future__ import annotations

import pytest

from crosslatent.core import costs
from crosslatent.core.pairs import resolve_pairs
from crosslatent.distributed import LARGEST
from crosslatent.sweeps import SweepSpec, plan_sweep
from crosslatent.sweeps.forecast import estimate
from crosslatent.sweeps.work_units import ROWS_TOGETHER
from crosslatent.tasks import Item, task_of
from scripts.scale_designs import LARGE, SLICE_SECONDS, SMALL, designs
from support.rows import wrapped


def test_tokens_of_shared_prompts_and_of_rows_by_themselves():
    # 2 items of 300 tokens, 10 rows each of 20 tokens: half of a row's first token is shared.
    assert costs.tokens_through(600, 20, 20, 0.5) == 600 + 20 * 19.5
    assert costs.tokens_apart(300, 20, 20) == 20 * 319


@pytest.mark.parametrize(
    ("pairs", "left"),
    [("target-first", 1), ("source-last", 0.625), ("all", 0.625), ("0:3,1:3", 0.25)],
)
def test_what_is_left_above_the_edited_block(pairs, left):
    # Of 4 blocks, an edit at the first leaves all 4 to do, one at the last leaves 1.
    targets = [target for _, target in resolve_pairs(pairs, 4).default]
    assert costs.share_left(targets, 4) == left


def test_the_estimate_of_a_sweep_follows_its_pairs():
    model = wrapped()
    items = [Item(id=str(n), lang="sw", aux_lang="en", main="Mji?", aux="City?") for n in range(3)]

    def tokens(pairs):
        plan = plan_sweep(model, task_of(items), SweepSpec(pairs=pairs, max_new_tokens=2))
        return estimate(plan).tokens

    prompts, rows = 3 * len("Mji?City?"), 3 * (2 + 4)
    assert tokens("target-first") == prompts + rows * 2
    assert tokens("source-last") == round(prompts + rows * 1.625)


def test_no_slice_of_the_page_is_larger_than_those_of_the_code():
    assert LARGEST == ROWS_TOGETHER
    for one in [*designs(SMALL, 700), *designs(LARGE, 100_000)]:
        assert one.rows / one.slices <= LARGEST
        assert (
            one.slices * SLICE_SECONDS >= one.gpu_hours[0] * 3600 / one.model.gpus - SLICE_SECONDS
        )
    everything = designs(LARGE, 100_000)[1]
    assert everything.slices == -(-everything.rows // LARGEST)


def test_attention_is_little_beside_the_weights_of_a_large_model():
    weights = costs.operations(1, 70e9)
    assert weights == 1.4e11
    assert costs.attention_operations(1, 300, 80, 8192) / weights == pytest.approx(0.0056, abs=1e-4)


def test_gpu_hours():
    assert costs.gpu_hours(3.6e18, 1e15, 0.5) == pytest.approx(2)


def test_keys_and_values_of_shared_heads():
    # Llama 70B: 80 layers, 8 heads of 128, bfloat16: 320 KiB a token.
    assert costs.cache_bytes(1, 80, 8 * 128) == 320 * 1024


def test_storage_grows_with_what_is_stored():
    plain = costs.storage(1000, 20, 4)
    assert plain.low < plain.high
    assert costs.storage(2000, 20, 4).low == pytest.approx(2 * plain.low)
    assert costs.storage(1000, 20, 4, scored=True).low > plain.low
    nothing_decoded = costs.storage(1000, 0, 4)
    assert nothing_decoded.low == nothing_decoded.high < plain.low


@pytest.mark.parametrize(
    ("size", "text"),
    [(12, "12 bytes"), (1530, "1.5 kB"), (62e6, "62 MB"), (999.6e6, "1 GB"), (3.2e15, "3200 TB")],
)
def test_sizes_for_people(size, text):
    assert costs.human_bytes(size) == text
