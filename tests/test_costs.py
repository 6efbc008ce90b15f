"""The arithmetic of what a sweep costs."""

from __future__ import annotations

import pytest

from crosslatent import costs


def test_tokens_of_shared_prompts_and_of_rows_by_themselves():
    # 2 items of 300 tokens, 10 rows each of 20 tokens: half of a row's first token is shared.
    assert costs.tokens_through(600, 20, 20) == 600 + 20 * 19.5
    assert costs.tokens_apart(300, 20, 20) == 20 * 319


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
