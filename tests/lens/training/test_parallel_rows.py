"""Rows, held-out rows and their order."""

from __future__ import annotations

import pytest

from crosslatent.core.errors import SpaceError, UsageError
from crosslatent.lens.training.parallel_rows import (
    as_rows,
    encode_rows,
    order_of,
    parts_of,
    pieces_of,
    split_rows,
    steps_of,
)
from support.training import parallel, tiny


def encoded(rows, languages=("sw", "hi"), max_tokens=64):
    return encode_rows(
        tiny(), rows, central="en", languages=languages, chat=False, max_tokens=max_tokens
    )


def test_rows_are_token_ids_of_the_right_languages():
    model = tiny()
    rows = parallel(3)
    found = encoded(rows)
    for row, ids in zip(rows, found.rows, strict=True):
        assert model.text_of(list(ids.central)) == row["en"]
        assert model.text_of(list(ids.targets["hi"])) == row["hi"]
    assert found.texts("sw", "en") == [row.targets["sw"] for row in found.rows]
    assert found.texts("en", "en") == [row.central for row in found.rows]


def test_rows_without_a_partner_are_counted_and_left_out():
    rows = parallel(5)
    del rows[0]["en"]
    rows[1]["sw"], rows[1]["hi"] = "", "  "
    del rows[2]["sw"]
    found = encoded(rows)
    assert (len(found.rows), found.left_out) == (3, 2)
    assert list(found.rows[0].targets) == ["hi"]


def test_cut_texts_are_counted():
    found = encoded(parallel(6), max_tokens=10)
    assert max(len(row.central) for row in found.rows) == 10
    assert found.cut["en"] > 0


def test_lists_by_language_are_rows():
    assert as_rows({"en": ["a", "b"], "sw": ["c", "d"]}) == [
        {"en": "a", "sw": "c"},
        {"en": "b", "sw": "d"},
    ]
    with pytest.raises(SpaceError, match="en 1, sw 2"):
        as_rows({"en": ["a"], "sw": ["c", "d"]})


def test_a_language_without_text_is_refused():
    with pytest.raises(SpaceError, match="no text in 'zz' among 3 rows"):
        encoded(parallel(3), languages=("sw", "zz"))
    rows = parallel(2)
    del rows[0]["en"], rows[1]["sw"]
    with pytest.raises(SpaceError, match="both in 'sw' and in 'en'"):
        encoded(rows)


def test_split_and_order_follow_from_the_seed():
    split = split_rows(range(40), 0.1, 3)
    assert len(split.held_out) == 4
    assert sorted((*split.train, *split.held_out)) == list(range(40))
    assert split == split_rows(range(40), 0.1, 3)
    assert split != split_rows(range(40), 0.1, 4)
    orders = [order_of(split.train, epoch, 3) for epoch in range(3)]
    assert all(sorted(order) == list(split.train) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert orders[1] == order_of(split.train, 1, 3)


def test_groups_are_not_torn_apart():
    groups = [number // 3 for number in range(30)]
    split = split_rows(groups, 0.2, 0)
    assert len(split.held_out) == 6
    assert not {groups[n] for n in split.train} & {groups[n] for n in split.held_out}


def test_too_few_rows_are_refused():
    assert split_rows(range(2), 0.01, 0).held_out
    assert split_rows(range(1), 0.0, 0).train == (0,)
    with pytest.raises(UsageError, match="Training has 1 row"):
        split_rows(range(1), 0.1, 0)


def test_the_last_batch_is_not_left_out():
    assert parts_of(range(5), 2) == [[0, 1], [2, 3], [4]]
    assert steps_of(17, 4, 2) == 3
    assert steps_of(16, 4, 2) == 2


def test_pieces_hold_every_row_once_and_fit_their_room():
    tokens = {row: 10 + 37 * row % 60 for row in range(20)}
    found = pieces_of(range(20), tokens, 100)
    assert sorted(row for piece in found for row in piece) == list(range(20))
    for piece in found:
        assert len(piece) == 1 or len(piece) * max(tokens[row] for row in piece) <= 100
    assert len(found) < 12
    assert pieces_of([3, 1], tokens, None) == [[3, 1]]
    assert pieces_of([], tokens, None) == pieces_of([], tokens, 100) == []
