"""Real sweeps of models whose truth is written down: verdicts must say what was planted."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

import crosslatent as xl
from crosslatent.analysis import summarise
from crosslatent.analysis.bounds import OverControls
from crosslatent.analysis.data import control_name
from crosslatent.analysis.picked import ControlAtPair, PairTest
from crosslatent.analysis.run_summary import RunSummary
from crosslatent.report.gains import carried_sentences
from crosslatent.report.verdicts import BOUND, CARRIED, FEWEST, GAIN
from crosslatent.report.verdicts.diagnosis import Carried
from support.planted import COPIES, KNOWN, LAYERS, SYMBOLS, Kind, World, plant

KINDS: tuple[Kind, ...] = ("text", "symbol", "guess", "switch")
CONTROLS = ("shuffled", "noise", "mean", "self")


class Swept(NamedTuple):
    """A world, the rows of all pairs of attention with all controls, and their summary."""

    world: World
    rows: pd.DataFrame
    run: RunSummary

    @property
    def over(self) -> OverControls:
        return self.run.over_controls[0]

    @property
    def pair(self) -> tuple[int, int]:
        return next(one for one in self.run.picked if one.pooling == "pooled").choices["all"].pair

    @property
    def test(self) -> PairTest:
        """The picked pair on the final split."""
        picked = next(one for one in self.run.picked if one.pooling == "pooled")
        return next(t for t in picked.tests if (t.split, t.lang) == ("final", "all"))

    @property
    def controls(self) -> dict[str, ControlAtPair]:
        return {control_name(one.control, one.stratum): one for one in self.test.controls}

    @property
    def carried(self) -> list[str]:
        """Ids of what is said of the strata."""
        strata = (f"shuffled/{n}" for n in ("same_answer", "same_symbol", "different_answer"))
        return CARRIED.allowed(Carried("attn", self.test.gain, *map(self.controls.get, strata)))

    @property
    def said(self) -> str:
        """What the report says of controls and of what is carried."""
        controls = [BOUND.say(one) for one in self.run.over_controls]
        return " ".join([*controls, *carried_sentences(self.run, "final")])


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Swept]:
    """Sweeps a world once."""

    @cache
    def of(kind: Kind) -> Swept:
        world = plant(kind)
        out: Path = tmp_path_factory.mktemp("planted") / kind
        run = xl.sweep(
            world.model, world.items, component="attn", controls=CONTROLS, max_new_tokens=1, out=out
        )
        return Swept(world, run.to_pandas(), summarise([out]).runs[0])

    return of


def gains(of: Swept) -> np.ndarray:
    """Gain of each pair on the final questions, (sources, targets)."""
    grid = next(g for g in of.run.grids if (g.split, g.lang) == ("final", "all"))
    return np.array(grid.gain, dtype=np.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_does_what_was_planted(swept: Callable[[Kind], Swept], kind: Kind) -> None:
    of, world = swept(kind), swept(kind).world
    counted = dict.fromkeys(("vanilla", "translate_test", "none", "shuffled", "self"), 0)
    for row in of.rows[of.rows.control.isin(counted)].to_dict("records"):
        control, item = row["control"], row["item"]
        counted[control] += 1
        if control == "translate_test":
            expected = world.translated(item)
        elif control == "vanilla":
            expected = world.expected(item)
        else:
            pair = int(row["source"]), int(row["target"])
            donor = row["donor"] if control == "shuffled" else None
            expected = world.expected(item, pair, donor=donor, own=control == "self")
        assert bool(row["correct"]) == expected, row
    number = sum(COPIES.values()) * SYMBOLS**2 * len(KNOWN)
    assert counted["vanilla"] == counted["translate_test"] == number
    assert counted["none"] == number * LAYERS**2


def test_attention_that_works_at_one_pair_is_above_its_strongest_control(
    swept: Callable[[Kind], Swept],
) -> None:
    of = swept("text")
    assert of.pair == (0, 0)
    found = gains(of)
    assert found[0, 0] > 0.3
    found[0, 0] = 0
    assert (found <= 0).all()
    assert BOUND.allowed(of.over) == ["bound.above"]
    assert "Attention: the upper bound lies +" in of.said
    assert "above the strongest control" in of.said
    # Self changes nothing at 0 -> 0, and the pair is compared all the same.
    rivals = {one.control: one for one in of.over.rivals}
    assert set(rivals) == {"shuffled/any", "noise", "mean", "self"}
    assert of.over.strongest.control != "self"
    assert rivals["self"].union.value == of.run.upper_bounds[0].vanilla.value
    assert rivals["self"].true.value == of.run.upper_bounds[0].overall.value
    # Of the strata, the same text behind the same symbol alone repairs.
    assert GAIN.allowed(of.test.gain) == ["gain.shown"]
    assert of.controls["shuffled/same_answer"].gain.above_zero
    assert of.controls["shuffled/same_symbol"].gain.below_zero
    assert of.carried == ["carried.symbol_not_shown"]


def test_where_only_the_symbol_is_carried_the_report_says_so(
    swept: Callable[[Kind], Swept],
) -> None:
    of = swept("symbol")
    assert of.pair == (0, 0)
    assert BOUND.allowed(of.over) == ["bound.above"]
    same, symbol = (of.controls[f"shuffled/{n}"] for n in ("same_answer", "same_symbol"))
    for stratum in (same, symbol):
        assert stratum.gain.n >= FEWEST
        assert stratum.gain.above_zero
        assert not stratum.difference.above_zero
    assert of.controls["shuffled/different_answer"].gain.below_zero
    assert of.carried == ["carried.symbol"]
    assert "Attention: an option symbol is carried." in of.said


def test_where_nothing_works_nothing_is_shown(swept: Callable[[Kind], Swept]) -> None:
    of = swept("guess")
    assert (gains(of) <= 0).all()
    # A guess is right by luck, so the union rises; that of the controls does, too.
    bound = of.run.upper_bounds[0]
    assert (bound.overall.value or 0) > (bound.vanilla.value or 1) + 0.05
    assert BOUND.allowed(of.over) == ["bound.not_shown"]
    assert "could not be shown" in of.said
    assert GAIN.allowed(of.test.gain) == ["gain.not_shown"]
    assert of.carried == ["carried.symbol_not_shown"]


def test_a_gain_that_any_english_prompt_brings_is_not_above_controls(
    swept: Callable[[Kind], Swept],
) -> None:
    of = swept("switch")
    assert of.pair == (1, 1)
    assert of.test.gain.value == 0.5
    assert GAIN.allowed(of.test.gain) == ["gain.shown"]
    assert of.over.strongest.difference.value == 0
    assert BOUND.allowed(of.over) == ["bound.not_shown"]
    # Donors with any answer repair, so it is not the symbol that they bring.
    for stratum in ("same_answer", "same_symbol", "different_answer"):
        assert of.controls[f"shuffled/{stratum}"].gain.value == 0.5
    assert of.carried == ["carried.symbol_or_anything"]
    assert "an option symbol is carried" not in of.said
    assert "So a symbol need not be what is carried" in of.said
