"""What is carried, which layers matter, what a map shows: sentences that describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crosslatent.analysis.across_runs import ModuleClaim
from crosslatent.analysis.carried import Spelling
from crosslatent.analysis.inference import LEVEL
from crosslatent.analysis.language_traits import LanguageCorrelation
from crosslatent.analysis.picked import ControlAtPair
from crosslatent.report import formatting
from crosslatent.report.verdicts.family import FEWEST, Family, Phrase, points_with_interval
from crosslatent.stats import Estimate


@dataclass(frozen=True, slots=True)
class Carried:
    """What donors of the strata do at the picked pair, for answers that are symbols with a text.

    Attributes:
        true: gain of the true counterpart.
        same: donors with the same text behind the same symbol; `symbol`: the same symbol with
            another text; `other`: another symbol.
        note: ``exploratory`` or nothing.
    """

    component: str
    true: Estimate
    same: ControlAtPair | None
    symbol: ControlAtPair | None
    other: ControlAtPair | None
    note: str = ""


def _many(control: ControlAtPair | None) -> bool:
    return control is not None and control.gain.n >= FEWEST


def _repairs(control: ControlAtPair | None) -> bool:
    return _many(control) and control is not None and control.gain.above_zero


def _like_true(control: ControlAtPair | None) -> bool:
    """It repairs, and that the true counterpart does more could not be shown."""
    return _repairs(control) and control is not None and not control.difference.above_zero


def _above(control: ControlAtPair | None, other: ControlAtPair | None) -> bool:
    """The interval of one stratum's gain lies above that of another's."""
    if control is None or other is None or not _many(other):
        return False
    if control.gain.undefined or other.gain.undefined:
        return False
    # Where nothing varies the value is both ends.
    low = control.gain.value if control.gain.low is None else control.gain.low
    high = other.gain.value if other.gain.high is None else other.gain.high
    return low is not None and high is not None and low > high


def _as_symbol(one: Carried) -> bool:
    """Donors with the same symbol repair, and more than those with another one do."""
    return _repairs(one.symbol) and _above(one.symbol, one.other)


def _carried_values(one: Carried) -> Mapping[str, str]:
    def gain(control: ControlAtPair | None) -> str:
        return "" if control is None else points_with_interval(control.gain)

    def gap(control: ControlAtPair | None) -> str:
        return "" if control is None else points_with_interval(control.difference)

    return {
        "component": formatting.first_upper(formatting.component(one.component)),
        "true": points_with_interval(one.true),
        "same": gain(one.same),
        "symbol": gain(one.symbol),
        "other": gain(one.other),
        "over": gap(one.symbol),
        "note": one.note,
    }


CARRIED: Family[Carried] = Family(
    "carried",
    _carried_values,
    {
        "symbol": Phrase(
            lambda one: (
                one.true.above_zero
                and _as_symbol(one)
                and _like_true(one.same)
                and _like_true(one.symbol)
            ),
            "{component}: an option symbol is carried. Donors with the same symbol repair as the "
            "true counterpart does ({true}), whether their text is the same ({same}) or another "
            "one ({symbol}), and more than donors with another symbol ({other}){note}.",
        ),
        "symbol_alone": Phrase(
            lambda one: (
                one.true.above_zero
                and _as_symbol(one)
                and _like_true(one.symbol)
                and not _many(one.same)
            ),
            "{component}: donors with the same symbol and another text gain {symbol}, more than "
            "donors with another symbol ({other}); that the true counterpart does more could not "
            "be shown ({over}). So a symbol is carried{note}.",
        ),
        "symbol_in_part": Phrase(
            lambda one: _as_symbol(one) and not _like_true(one.symbol),
            "{component}: donors with the same symbol and another text gain {symbol}, less than "
            "the true counterpart by {over}, and more than donors with another symbol ({other}). "
            "So part of what is carried is the option symbol{note}.",
        ),
        "text_matters": Phrase(
            lambda one: (
                _as_symbol(one)
                and _like_true(one.symbol)
                and _many(one.same)
                and not _like_true(one.same)
            ),
            "{component}: donors with the same symbol and another text gain {symbol}, those with "
            "the same text too {same}; the two do not agree, so what is carried stays open{note}.",
        ),
        "symbol_or_anything": Phrase(
            lambda one: _repairs(one.symbol) and _many(one.other) and not _as_symbol(one),
            "{component}: donors with the same symbol and another text gain {symbol}, but that "
            "they gain more than donors with another symbol ({other}) could not be shown. So a "
            "symbol need not be what is carried{note}.",
        ),
        "symbol_not_shown": Phrase(
            lambda one: _many(one.symbol) and not _repairs(one.symbol),
            "{component}: that the option symbol alone is carried could not be shown: donors with "
            "the same symbol and another text gain {symbol}{note}.",
        ),
    },
)


@dataclass(frozen=True, slots=True)
class Spelled:
    """What a pair gains where the answer is spelled alike in both languages, and where not.

    Attributes:
        note: ``exploratory`` or nothing.
    """

    found: Spelling
    note: str = ""

    @property
    def many(self) -> bool:
        """Both groups are large enough for a sentence."""
        return min(self.found.same.gain.n, self.found.other.gain.n) >= FEWEST

    @property
    def gains(self) -> bool:
        """A gain is shown where answers are spelled alike, and above that of a blind donor."""
        same = self.found.same
        over = same.over_donor
        return same.gain.above_zero and (over is None or not over.n or over.above_zero)

    @property
    def more(self) -> bool:
        """The gain is larger where answers are spelled alike."""
        return self.found.difference.above_zero


def _spelled_values(one: Spelled) -> Mapping[str, str]:
    return {
        "component": formatting.first_upper(formatting.component(one.found.component)),
        "same": points_with_interval(one.found.same.gain),
        "other": points_with_interval(one.found.other.gain),
        "gap": points_with_interval(one.found.difference),
        "note": one.note,
    }


SPELLED: Family[Spelled] = Family(
    "spelled",
    _spelled_values,
    {
        "spelling": Phrase(
            lambda one: one.many and one.gains and one.more and not one.found.other.gain.above_zero,
            "{component}: the spelling of the answer is carried. Where it is the same in both "
            "languages, the gain is {same}. Where it is not, it is {other}, so none could be "
            "shown. The difference is {gap}{note}.",
        ),
        "in_part": Phrase(
            lambda one: one.many and one.gains and one.more and one.found.other.gain.above_zero,
            "{component}: part of what is carried is the spelling of the answer. Where it is the "
            "same in both languages, the gain is {same}, where it is not {other}; the difference "
            "is {gap}{note}.",
        ),
        "content": Phrase(
            lambda one: one.many and one.found.other.gain.above_zero and not one.more,
            "{component}: more than the spelling of the answer is carried. The gain is {other} "
            "where the languages spell it differently and {same} where they spell it alike; that "
            "the latter is larger could not be shown ({gap}){note}.",
        ),
        "open": Phrase(
            lambda one: (
                one.many
                and not (one.gains and one.more)
                and not (one.found.other.gain.above_zero and not one.more)
            ),
            "{component}: whether the spelling of an answer is carried could not be shown. Where "
            "it is the same in both languages, the gain is {same}, where it is not {other}; the "
            "difference is {gap}{note}.",
        ),
        "other_languages": Phrase(
            lambda one: (
                one.many and not set(one.found.same.languages) & set(one.found.other.languages)
            ),
            "No language has questions of both kinds, so the difference may be one of languages.",
        ),
    },
)


def _trait_values(found: Sequence[LanguageCorrelation]) -> Mapping[str, str]:
    return {
        "languages": str(max((one.languages for one in found if one.rho is not None), default=0))
    }


def kept(found: Sequence[LanguageCorrelation]) -> list[LanguageCorrelation]:
    """Correlations that are left after correction."""
    known = [one for one in found if one.rho is not None]
    return [one for one in known if one.test.holm is not None and one.test.holm < LEVEL]


TRAITS: Family[Sequence[LanguageCorrelation]] = Family(
    "traits",
    _trait_values,
    {
        "none": Phrase(
            lambda found: any(one.rho is not None for one in found) and not kept(found),
            "Over {languages} languages, no trait goes with the gain or with what is left of the "
            "upper bound after Holm\u2019s correction.",
        ),
    },
)


CLAIM: Family[ModuleClaim] = Family(
    "claim",
    lambda one: {
        "model": formatting.listing(one.models) or "this model",
        "verdict": one.verdict,
        "halves": formatting.listing(f"{half.verdict} for {half.type}" for half in one.halves),
    },
    {
        "verdict": Phrase(
            lambda one: bool(one.halves),
            "For {model}, the claim is {verdict} ({halves}). A type of task counts as confirmed if "
            "both measures favour the predicted module significantly, and as refuted if neither "
            "does and one favours the other module, or both lie within the margin that is called "
            "no difference; the claim is confirmed if both types are, and refuted if one of them "
            "is.",
        ),
    },
)
"""Attention against feed-forward, by type of task."""
