"""The grammar of --pairs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslatent.core.errors import PairError
from crosslatent.core.pairs import resolve_pairs
from crosslatent.core.specs import PRESETS


def pairs(spec, n_layers=4):
    return resolve_pairs(spec, n_layers).default


def test_shapes():
    assert len(pairs("all")) == len(set(pairs("all"))) == 16
    assert pairs("target-first") == ((0, 0), (1, 0), (2, 0), (3, 0))
    assert pairs("source-last") == ((3, 0), (3, 1), (3, 2), (3, 3))


def test_lists_count_from_the_end_and_drop_repetitions():
    assert pairs("0:3, -1:-4,3:0") == ((0, 3), (3, 0))
    assert pairs([(-1, 0), (1, 2)]) == ((3, 0), (1, 2))


def test_presets_of_the_paper():
    assert pairs("preset:understanding", 32) == ((31, 0),)
    assert pairs("preset:generation") == pairs("preset:culture") == ((0, 0),)
    assert PRESETS["understanding"].component == "attn"


def test_the_authors_file_has_a_pair_for_each_language(tmp_path):
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps({"sw": [3, 0], "hi": [[1, 2], [2, 2]]}))
    plan = resolve_pairs(str(path), 4)
    assert plan.for_language("sw") == ((3, 0),)
    assert plan.for_language("hi") == ((1, 2), (2, 2))
    with pytest.raises(PairError, match="no pair for language 'de': it has hi, sw"):
        plan.for_language("de")


def test_a_file_may_be_one_list(tmp_path):
    path = tmp_path / "pairs.json"
    path.write_text("[[0, 1], [2, 3]]")
    assert pairs(str(path)) == ((0, 1), (2, 3))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("4:0", "source layer 4 is out of range: this model has 4 blocks, so use 0 to 3"),
        ("0:-5", "target layer -5 is out of range"),
        ("preset:poetry", "Unknown preset 'poetry': use one of understanding"),
        ("diagonal", "Cannot read the pairs 'diagonal': use all, none, target-first"),
        ("", "Cannot read the pairs ''"),
        ("1:2:3", "Cannot read the pairs '1:2:3'"),
        ("0;1" * 200, "Cannot read the pairs '0;10;1"),
        ("nowhere.json", "Cannot read the pairs file nowhere.json (No such file"),
    ],
)
def test_mistakes_say_what_would_be_right(spec, says):
    with pytest.raises(PairError) as error:
        resolve_pairs(spec, 4)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "content", ["[0, 1", "{}", "[]", '{"sw": [0]}', '{"sw": "0:1"}', "[[0.5, 1]]"]
)
def test_bad_files_are_refused(tmp_path, content):
    path = tmp_path / "pairs.json"
    path.write_text(content)
    with pytest.raises(PairError):
        resolve_pairs(str(path), 4).for_language("sw")


@given(
    st.integers(1, 40).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(st.tuples(st.integers(-n, n - 1), st.integers(-n, n - 1)), min_size=1),
        )
    )
)
def test_text_and_pairs_resolve_alike(case):
    n_layers, wanted = case
    text = ",".join(f"{i}:{j}" for i, j in wanted)
    assert pairs(text, n_layers) == pairs(wanted, n_layers)
    assert all(0 <= i < n_layers and 0 <= j < n_layers for i, j in pairs(text, n_layers))
