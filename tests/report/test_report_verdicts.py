"""Pages of hand-made run folders: each says what its own figures say, and nothing else."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crosslatent.analysis import Headline, declaration, summarise
from crosslatent.analysis.data import RunData
from crosslatent.report.build import pages_of
from crosslatent.runs.reader import RunReader
from crosslatent.selectors import Choosing
from support.figures import of_texts
from support.runs import Record, item, row, write_run

Right = Callable[[int], bool]
OPTIONS = ["(1)", "(2)", "(3)"]


def shown(run: Path) -> str:
    """What a reader sees of a run's page, without selectors: text, and that of its figures."""
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page_of(run), flags=re.DOTALL)
    return html.unescape(re.sub(r"<svg\b.*?</svg>", in_figure, page, flags=re.DOTALL))


def in_figure(svg: re.Match[str]) -> str:
    """The texts of a figure, where a longer one is on several lines."""
    return " ".join(re.findall(r"<text\b[^>]*>(.*?)</text>", svg[0], flags=re.DOTALL))


def colours(run: Path, number: str) -> set[str]:
    """The colours that a number has in figures."""
    fills = re.findall(rf'fill: ([^;"]+)[^>]*>{re.escape(number)}[^<]*</text>', page_of(run))
    return set(fills)


def page_of(run: Path) -> str:
    """A run's page, without selectors."""
    data = [RunData(RunReader(run))]
    choosing = [Choosing("run", None, None, [])]
    with of_texts():
        return "".join(pages_of(summarise([run]), data, choosing, run / "figures").values())


def grid(
    names: list[str], control: str, pairs: dict[tuple[int, int], Right], **changes: Any
) -> Any:
    """Rows of a control: which pairs are right on which question, by its number."""
    for k, name in enumerate(names):
        for (source, target), right in pairs.items():
            yield row(name, control, right(k), source=source, target=target, **changes)


def questions(number: int = 40, *splits: str, **changes: Any) -> list[Record]:
    return [
        item(f"{split}{k:02}", split=split, **changes)
        for split in splits or ("pilot", "final")
        for k in range(number)
    ]


def plain(names: list[str], vanilla: Right, aux: Right | None = None) -> Iterator[Record]:
    for k, name in enumerate(names):
        yield row(name, "vanilla", vanilla(k))
        if aux is not None:
            yield row(name, "translate_test", aux(k))


def some(share: int) -> Right:
    """True for `share` of ten questions."""
    return lambda k: k % 10 < share


ALL_PAIRS = {(i, j): some(4) for i in range(2) for j in range(2)}


@pytest.mark.parametrize(
    ("control", "stratum", "says", "never"),
    [
        (None, None, "No control was run", "which brings something"),
        ("paraphrase", None, "the question in other words, same language alone", "No control was"),
        ("noise", None, "the strongest control that knows no answer (random", "No control was"),
        ("mean", None, "the strongest control that knows no answer (mean", "No control was"),
        ("self", None, "the strongest control that knows no answer (the que", "No control was"),
    ],
)
def test_a_plotted_control_is_not_denied(
    tmp_path: Path, control: str | None, stratum: str | None, says: str, never: str
) -> None:
    items = questions()
    names = [one["item"] for one in items]
    rows = [*plain(names, some(2)), *grid(names, "none", ALL_PAIRS)]
    if control:
        rows += grid(names, control, {pair: some(3) for pair in ALL_PAIRS}, stratum=stratum)
    text = shown(write_run(tmp_path / "run", items, rows))
    assert says in text
    assert never not in text


def test_a_union_below_the_unmodified_model_lifts_nothing(tmp_path: Path) -> None:
    items = questions()
    names = [one["item"] for one in items]
    rows = [*plain(names, some(8)), *grid(names, "none", ALL_PAIRS)]
    run = write_run(tmp_path / "run", items, rows)
    text = shown(run)
    assert "no more answers are right than unmodified: 40.0" in text
    assert "lifts the share" not in text
    assert colours(run, "\u221240.0") - {"var(--ink)"} == {"var(--loss)"}


def test_gains_do_not_have_the_colour_of_losses(tmp_path: Path) -> None:
    items = questions()
    names = [one["item"] for one in items]
    rows = [*plain(names, some(2)), *grid(names, "none", ALL_PAIRS)]
    run = write_run(tmp_path / "run", items, rows, headline=declaration(Headline()))
    assert colours(run, "+20.0") - {"var(--ink)"} == {"var(--accent)"}
    assert "loss" not in re.sub(r"gained or lost", "", shown(run))
    pages = re.sub(r"<(script|style)\b.*?</\1>", "", page_of(run), flags=re.DOTALL)
    assert "var(--loss)" not in pages


@pytest.mark.parametrize("splits", [("pilot", "final"), ("final",), ("final", "unseen")])
def test_what_is_not_outlined_or_tested_is_not_announced(
    tmp_path: Path, splits: tuple[str, ...]
) -> None:
    items = questions(20, *splits)
    names = [one["item"] for one in items]
    rows = [*plain(names, some(2)), *grid(names, "none", ALL_PAIRS)]
    text = shown(write_run(tmp_path / "run", items, rows))
    assert ("The outline marks the pair picked on the pilot" in text) == ("pilot" in splits)
    assert ("The outlined pair is tested" in text) == ("pilot" in splits)
    assert "Blue: more right answers" in text
    assert "Orange: fewer right" not in text
    assert "only the headline was declared" not in text


def test_prose_on_layers_agrees_with_the_map(tmp_path: Path) -> None:
    items = questions()
    names = [one["item"] for one in items]
    pairs = {(i, j): some(4) for i in range(4) for j in range(4)}
    pairs |= {(0, j): some(0) for j in range(1, 4)} | {(0, 0): some(9)}
    rows = [*plain(names, some(4)), *grid(names, "none", pairs)]
    text = shown(write_run(tmp_path / "run", items, rows, n_layers=4))
    assert "As source, averaged over its pairs, layer 0 loses" in text
    assert "the best one, 0\u202f→\u202f0, gains +50.0 points" in text
    assert "while source layer 0 loses on average" in text
    assert "layers 1 to 3 lie above" not in text
    assert "Feed-forward (final questions)" in text
    assert "All languages, final questions: n" in text


@pytest.mark.parametrize(
    ("aux", "says"),
    [
        (10, "is right on 100.0\u202f%: better than any pair of layers, by +10.0 points"),
        (9, "is right on 90.0\u202f%; no pair of layers is right more often"),
        (5, "is right on 50.0\u202f%, the best pair of layers in hindsight (feed-forward 0"),
        (None, ""),
    ],
)
@pytest.mark.parametrize("declared", [True, False])
def test_a_run_says_where_translate_test_is_better(
    tmp_path: Path, aux: int | None, says: str, declared: bool
) -> None:
    items = questions()
    names = [one["item"] for one in items]
    rows = list(plain(names, some(4), None if aux is None else some(aux)))
    rows += grid(names, "none", {(0, 0): some(9), (1, 0): some(1)})
    more = {"headline": declaration(Headline())} if declared else {}
    text = shown(write_run(tmp_path / "run", items, rows, **more))
    page = text[text.index("What was asked") :]
    assert says in page
    assert ("translate-test, without any transplant" in page) == (aux is not None)
    assert page.count("better than any pair") == (aux == 10)
    first = text[: text.index("What was asked")]
    assert (says in first) == (aux is None or not declared)
    assert ("Translate-test" in first) == (aux is not None and declared)


@pytest.mark.parametrize(
    ("kind", "pair", "component"),
    [("understanding", (1, 0), "attn"), ("generation", (0, 0), "ffn"), ("culture", (0, 0), "ffn")],
)
def test_a_run_says_what_the_paper_s_own_pair_does(
    tmp_path: Path, kind: str, pair: tuple[int, int], component: str
) -> None:
    items = questions()
    names = [one["item"] for one in items]
    task = {"name": "facts", "title": "Facts", "direction": "en->x", "rule": "option", "type": kind}
    rows = [*plain(names, some(6))]
    for one in ("attn", "ffn"):
        pairs = {place: some(2 if (one, place) == (component, pair) else 8) for place in ALL_PAIRS}
        rows += grid(names, "none", pairs, component=one)
    run = write_run(tmp_path / "run", items, rows, task=task, headline=declaration(Headline()))
    text = shown(run)
    page = text[text.index("What was asked") :]
    assert "The pair that the paper recommends for this type of task" in page
    assert "a loss of −40.0 points" in page
    assert "The pair that the paper recommends" in text[: text.index("What was asked")]
    run = write_run(tmp_path / "custom", items, rows, task=task | {"type": "custom"})
    assert "the paper recommends" not in shown(run)


@pytest.mark.parametrize(
    ("tokens", "component", "spec", "says"),
    [
        ((":", ":"), "attn", {}, "Both prompts end in the same token here"),
        ((":", "?"), "attn", {}, ""),
        ((":", ":"), "ffn", {}, ""),
        ((":", ":"), "attn_residual", {}, ""),
        ((":", ":"), "attn", {"strength": 0.5}, ""),
        ((":", ":"), "attn", {"positions": 2}, ""),
    ],
)
def test_equal_last_tokens_are_said_where_the_pair_is_named(
    tmp_path: Path, tokens: tuple[str, str], component: str, spec: dict[str, Any], says: str
) -> None:
    items = questions(12, main_token=tokens[0], aux_token=tokens[1])
    names = [one["item"] for one in items]
    pairs = {(0, 0): some(9), (1, 0): some(1)}
    rows = [*plain(names, some(4)), *grid(names, "none", pairs, component=component)]
    run = write_run(tmp_path / "run", items, rows, spec={"seed": 0, **spec})
    text = shown(run)
    assert says in text
    assert ("copies the whole state" in text) == bool(says)


def symbols(number: int) -> tuple[list[Record], list[str]]:
    """Questions whose option (1) is another text for every other one."""
    items = questions(number, options=OPTIONS)
    for k, one in enumerate(items):
        one["labels"] = ["Asia", "Africa", "Europe"] if k % 2 else ["yen", "franc", "euro"]
    return items, [one["item"] for one in items]


@pytest.mark.parametrize(
    ("same", "symbol", "number", "says"),
    [
        (9, 9, 40, "an option symbol is carried"),
        (9, 6, 40, "part of what is carried is the option symbol"),
        (9, 2, 40, "that the option symbol alone is carried could not be shown"),
        (2, 2, 40, "that the option symbol alone is carried could not be shown"),
        (9, 9, 29, None),
        (9, 2, 20, None),
    ],
)
def test_strata_say_what_is_carried(
    tmp_path: Path, same: int, symbol: int, number: int, says: str | None
) -> None:
    items, names = symbols(number)
    rows = [*plain(names, some(2)), *grid(names, "none", {(0, 0): some(9), (1, 0): some(2)})]
    for stratum, share in (("same_answer", same), ("same_symbol", symbol), ("different_answer", 1)):
        rows += grid(names, "shuffled", {(0, 0): some(share)}, stratum=stratum, donor=names[0])
    more = {"requested": {"exploratory": ["strata"]}}
    text = shown(write_run(tmp_path / "run", items, rows, **more))
    for name in ("(a) same text behind the same symbol", "(b) same symbol, another text"):
        assert name in text
    said = [s for s in ("option symbol", "a symbol is carried") if f"{s}" in text]
    assert bool(said) == bool(says)
    if says:
        assert f"{says}" in text
        sentence = text[text.index(says) :].split("</p>")[0]
        assert "exploratory: defined after the rows were seen" in sentence
    else:
        assert f"n\u202f=\u202f{number}, too few for a sentence" in text


def capitals(number: int, unknown: int = 0) -> tuple[list[Record], list[str]]:
    """Open questions; every other answer is spelled as in English, and some of these not known."""
    items = questions(2 * number, options=None, labels=None)
    for k, one in enumerate(items):
        alike, final = k % 2 == 0, one["split"] == "final"
        aux = f"Rabat {k}" if alike else f"Athens {k}"
        lost = final and alike and k % (2 * number) < 2 * unknown
        changes = {"answer": f"Rabat {k}" if alike else f"Atenas {k}", "lang": "es"}
        one.update(changes, aux_answer=None if lost else aux)
    return items, [one["item"] for one in items]


@pytest.mark.parametrize(
    ("same", "other", "donor", "number", "says"),
    [
        (9, 0, 1, 30, "the spelling of the answer is carried."),
        (9, 4, None, 30, "part of what is carried is the spelling of the answer."),
        (9, 0, 9, 30, "whether the spelling of an answer is carried could not be shown."),
        (9, 0, 1, 29, None),
    ],
)
def test_open_answers_say_whether_their_spelling_is_carried(
    tmp_path: Path, same: int, other: int, donor: int | None, number: int, says: str | None
) -> None:
    items, names = capitals(number)
    true, donors = by_kind(same, other), by_kind(donor or 0, 0)
    rows = [*plain(names, some(0)), *grid(names, "none", {(0, 0): true, (1, 0): some(0)})]
    if donor is not None:
        rows += grid(
            names, "shuffled", {(0, 0): donors}, stratum="different_answer", donor=names[0]
        )
    more = {"requested": {"exploratory": ["spelling"]}}
    text = shown(write_run(tmp_path / "run", items, rows, **more))
    assert "True counterpart, same spelling" in text
    assert "True counterpart, other spelling" in text
    assert ("Another question, same spelling" in text) == (donor is not None)
    assert "the same in both languages (exploratory: defined after the rows were seen)." in text
    said = [v for v in ("the spelling of the answer", "the spelling of an answer") if v in text]
    assert bool(said) == bool(says)
    if says:
        assert says in text
        sentence = text[text.index(says) :].split("</p>")[0]
        assert "exploratory: defined after the rows were seen" in sentence
    else:
        assert (
            f"n\u202f=\u202f{number}, too few for a sentence (Spanish {number}); unmodified 0.0"
            in text
        )


def by_kind(same: int, other: int) -> Right:
    """Right for `same` of ten even numbers and for `other` of ten odd ones."""
    return lambda k: (k // 2) % 10 < (other if k % 2 else same)


def test_answers_that_are_not_known_are_counted(tmp_path: Path) -> None:
    items, names = capitals(12, unknown=5)
    rows = [*plain(names, some(0)), *grid(names, "none", {(0, 0): some(5), (1, 0): some(0)})]
    text = shown(write_run(tmp_path / "run", items, rows))
    assert "5 questions left out: the answer in the language of the counterpart" in text
    assert "exploratory" not in text
    for one in items:
        one["aux_answer"] = None
    text = shown(write_run(tmp_path / "none", items, rows))
    assert "spelled the same" not in text


def test_questions_with_options_say_nothing_of_spelling(tmp_path: Path) -> None:
    items, names = symbols(40)
    rows = [*plain(names, some(2)), *grid(names, "none", {(0, 0): some(9), (1, 0): some(2)})]
    assert "spelled" not in shown(write_run(tmp_path / "run", items, rows))


@pytest.mark.parametrize(
    ("chance", "solved", "says"),
    [
        (0.01, 9, "the upper bound minus that is +"),
        (0.9, 2, "the unmodified model alone is right at least once on 100.0"),
        (0.13, 4, "when it is sampled as often as there are pairs (pass@4, 42.7"),
        (None, 4, None),
    ],
)
def test_pass_at_k_stands_beside_the_bound_and_is_no_control(
    tmp_path: Path, chance: float | None, solved: int, says: str | None
) -> None:
    items = questions(40)
    names = [one["item"] for one in items]
    score = None if chance is None else math.log(chance)
    rows = [one | {"gold_score": score} for one in plain(names, some(1))]
    rows += grid(names, "none", dict.fromkeys(ALL_PAIRS, some(solved)))
    more = {"requested": {"exploratory": ["pass_at_k"]}}
    text = shown(write_run(tmp_path / "run", items, rows, **more))
    assert ("Unmodified, sampled: pass@" in text) == bool(says)
    assert ("exploratory: defined after the rows were seen" in text) == bool(says)
    assert "No control was run" in text
    if says:
        sentence = text[text.index(says) :].split("</p>")[0]
        assert "exploratory: defined after the rows were seen" in sentence
    else:
        assert "their rows do not say how likely the unmodified model is" in text


@pytest.mark.parametrize("exploratory", [None, [], ["surer"], "surer", 3])
def test_only_what_the_run_names_is_called_exploratory(tmp_path: Path, exploratory: Any) -> None:
    items = questions(12)
    names = [one["item"] for one in items]
    scored = {"option_logprobs": [-0.1, -2.0]}
    rows = [one | scored for one in plain(names, some(2), some(9))]
    rows += grid(names, "none", {(0, 0): some(5)})
    more = {} if exploratory is None else {"requested": {"exploratory": exploratory}}
    text = shown(write_run(tmp_path / "run", items, rows, **more))
    assert "The surer of both prompts" in text
    assert ("exploratory: defined after" in text) == (exploratory == ["surer"])


def test_conditions_that_could_not_be_judged_are_not_called_failed(tmp_path: Path) -> None:
    items = questions()
    names = [one["item"] for one in items]
    rows = [*plain(names, some(2)), *grid(names, "none", {(0, 0): some(9), (1, 0): some(2)})]
    rows += grid(names, "noise", {(0, 0): some(2), (1, 0): some(2)})
    declared = declaration(Headline(controls=("noise", "mean")))
    text = shown(write_run(tmp_path / "run", items, rows, headline=declared))
    assert "could not be judged" in text
    declared = declaration(Headline(controls=("noise",)))
    text = shown(write_run(tmp_path / "all", items, rows, headline=declared))
    assert "Every condition declared beforehand holds." in text
    assert "could not be judged" not in text
