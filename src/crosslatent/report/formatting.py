"""Numbers in words: every sentence of the report comes out of the figures through here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crosslatent.core.costs import human_bytes
from crosslatent.core.languages import UNKNOWN, name_of

if TYPE_CHECKING:
    from crosslatent.stats import Estimate

MINUS = "\u2212"
NARROW = "\u202f"
"""No-break space between a number and its unit."""

_CONTROLS = {
    "none": "true counterpart",
    "vanilla": "unmodified",
    "translate_test": "translate-test",
    "surer": "the surer of both prompts",
    "surer_calibrated": "the surer of both prompts, calibrated",
    "majority": "majority option",
    "majority_by_relation": "majority option of each relation",
    "shuffled": "vectors of other questions",
    "shuffled/same_answer": "another question, same answer",
    "shuffled/same_symbol": "another question, same symbol with another text",
    "shuffled/different_answer": "another question, different answer",
    "shuffled/any": "another question, drawn blindly",
    "noise": "random noise",
    "mean": "mean vector",
    "mean-main": "mean vector of the main prompts",
    "skip": "nothing: zeros",
    "self": "the question\u2019s own layers",
    "paraphrase": "the question in other words, same language",
}
_COMPONENTS = {
    "attn": "attention",
    "ffn": "feed-forward",
    "attn_residual": "attention + residual",
    "block": "whole block",
    "cross_attn": "cross-attention",
}
_METRICS = {
    "exact_match": ("exact match", "share of answers whose words are those of the gold answer"),
    "f1": ("F1", "how far the words of the answer and those of the gold answer overlap"),
    "js_similarity": (
        "similarity to the population",
        "1 minus the Jensen-Shannon distance between what the model and the population answer",
    ),
}
_RULES = {
    "option": "it names the right option and no other one",
    "option_or_label": "it names the right option, by its mark or its label, and no other one",
    "authors_option_or_label": "it names the right option and no other one by mark or label, to "
    "the letter of the authors' script",
    "contains": "it contains the gold answer, in upper or lower case",
    "exact": "it is the gold answer and nothing else",
    "likelihood": "the right option is the likeliest of them as a whole",
    "likelihood_mean": "the right option is the likeliest of them per token",
    "first_token": "the right option has the likeliest first token",
}


def language(code: str) -> str:
    """English name of a language, or its code if it has none."""
    if code == UNKNOWN:
        return "an unnamed language"
    return "all languages" if code == "all" else name_of(code)


def control(name: str) -> str:
    """What a control or baseline is, in a few words."""
    return _CONTROLS.get(name, name.replace("_", " "))


def stratum(name: str, *, with_options: bool, with_labels: bool, symbols: bool) -> str:
    """What donors of a stratum share with the question, called what it is.

    Args:
        name: as `control_name` names it.
        with_options: answers are options, not open ones.
        with_labels: an option is a symbol with a text behind it.
        symbols: the run tells donors that share the text from those that share the symbol alone.
    """
    if not with_options:
        return control(name)
    if not with_labels:
        plain = {"same_answer": "same option", "different_answer": "another option"}
    elif symbols:
        plain = {
            "same_answer": "(a) same text behind the same symbol",
            "same_symbol": "(b) same symbol, another text",
            "different_answer": "(c) another symbol",
        }
    else:
        plain = {
            "same_answer": "same symbol, whatever its text",
            "different_answer": "another symbol",
        }
    kind = name.removeprefix("shuffled/")
    return f"another question: {plain[kind]}" if kind in plain else control(name)


def component(name: str) -> str:
    """What a component is, in a few words."""
    return _COMPONENTS.get(name, name)


def metric(name: str) -> str:
    """What a graded score is called."""
    return _METRICS.get(name, (name.replace("_", " "), ""))[0]


def metric_meaning(name: str) -> str:
    """What a graded score says; empty if that is not known."""
    return _METRICS.get(name, ("", ""))[1]


def rule(name: str) -> str:
    """When an answer is right under a rule, as the end of a sentence; empty if not known."""
    return _RULES.get(name, "")


def percent(value: float | None) -> str:
    """A share: ``53.3 %``; a dash if undefined."""
    return "\u2013" if value is None else f"{100 * value:.1f}{NARROW}%"


def points(value: float | None) -> str:
    """A difference of shares in percentage points, with its sign: ``+25.0``."""
    if value is None:
        return "\u2013"
    rounded = round(100 * value, 1)
    sign = "+" if rounded > 0 else MINUS if rounded < 0 else ""
    return f"{sign}{abs(rounded):.1f}"


def interval(estimate: Estimate, *, difference: bool) -> str:
    """``13.3 to 36.7`` in percent or points; says why if there is none."""
    if estimate.low is None or estimate.high is None:
        agree = estimate.clusters > 1 and not estimate.undefined
        return "no variation" if agree else "no interval"
    if difference:
        return f"{points(estimate.low)} to {points(estimate.high)}"
    return f"{100 * estimate.low:.1f} to {percent(estimate.high)}"


def with_interval(estimate: Estimate, *, difference: bool) -> str:
    """Value and interval: ``+25.0 (+13.3 to +36.7)``."""
    value = points(estimate.value) if difference else percent(estimate.value)
    return f"{value} ({interval(estimate, difference=difference)})"


def p_value(value: float | None) -> str:
    """A p-value without false precision."""
    if value is None:
        return "\u2013"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_equals(value: float | None) -> str:
    """``p = 0.032``, ``p < 0.001``; says so if there is none."""
    if value is None:
        return "p undefined"
    text = p_value(value).replace(" ", "\u00a0")
    # No-break spaces: a p-value must not fall apart at the end of a line.
    return f"p\u00a0{text}" if text.startswith("<") else f"p\u00a0=\u00a0{text}"


def plain(value: float | None) -> str:
    """A number with a few digits: ``0.48``, ``39``; a dash if undefined."""
    if value is None:
        return "\u2013"
    text = f"{abs(value):.2f}" if abs(value) < 10 else f"{abs(value):,.0f}"
    return f"{MINUS}{text}" if value < 0 and float(text.replace(",", "")) else text


def signed(value: float | None) -> str:
    """A difference with its sign and a few digits: ``+0.48``, ``+17.4``; a dash if undefined."""
    if value is None:
        return "\u2013"
    text = f"{abs(value):.2f}" if abs(value) < 10 else f"{abs(value):,.1f}"
    return text if text == "0.00" else f"{'+' if value > 0 else MINUS}{text}"


def signed_interval(estimate: Estimate) -> str:
    """Value and interval of a difference that is no share: ``+0.48 (+0.21 to +0.75)``."""
    if estimate.low is None or estimate.high is None:
        return f"{signed(estimate.value)} ({interval(estimate, difference=True)})"
    return f"{signed(estimate.value)} ({signed(estimate.low)} to {signed(estimate.high)})"


def listing(parts: Iterable[str]) -> str:
    """``a, b and c``."""
    *most, last = list(parts) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def count(number: int, noun: str) -> str:
    """``1 question``, ``2,000 questions``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def first_upper(text: str) -> str:
    """The text with its first letter in upper case and the rest as it is."""
    return text[:1].upper() + text[1:]


def range_of(numbers: Sequence[int]) -> str:
    """``60``, or ``15 to 60`` with a dash: the least and the largest of some counts."""
    low, high = min(numbers, default=0), max(numbers, default=0)
    return f"{low:,}" if low == high else f"{low:,}\u2013{high:,}"


def brief_seconds(seconds: float) -> str:
    """A short time: ``12.3 ms``, ``1.23 s``."""
    return f"{1000 * seconds:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def multiple(ratio: Mapping[str, float] | None) -> str:
    """A ratio with its lowest and highest value: ``1.02 (1.01 to 1.05)``; "" for none."""
    if ratio is None:
        return ""
    ends = f" ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio["low"] != ratio["high"] else ""
    return f"{ratio['median']:.2f}{ends}"


def times(way: Mapping[str, Any]) -> list[str]:
    """Of a way of answering: first token, new token, tokens per second, memory."""
    seconds = [way["seconds"][phase] for phase in ("first_token", "new_token")]
    rate, memory = way["tokens_per_second"]["median"], way["memory_bytes"]
    return [
        *("" if one is None else brief_seconds(one["median"]) for one in seconds),
        f"{rate:,.3g}" if rate < 1000 else f"{rate:,.0f}",
        "" if memory is None else human_bytes(memory),
    ]
