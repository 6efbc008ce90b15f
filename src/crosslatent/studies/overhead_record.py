"""What `overhead` found: the ways of answering, and what each of them costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from crosslatent.core.cards import Card, Rows, Sentences, Shown
from crosslatent.core.costs import Shape, Workload
from crosslatent.core.imports import need
from crosslatent.report import formatting

if TYPE_CHECKING:
    import pandas as pd

PHASES = ("first_token", "new_token", "answer")
"""Until the first new token, for each one after it, and of whole answers."""
WAYS = {
    "vanilla": "unmodified",
    "engine": "unmodified, by the engine",
    "transplant": "transplant, vector at hand",
    "short_aux": "transplant, aux half as long",
    "long_aux": "transplant, aux twice as long",
    "steer": "steered, every token",
    "both_prompts": "main and aux answered",
    "pairs": "answered with {pairs} pairs",
}
"""What is compared: the first one is what the others are divided by."""


def workloads(prompt: int, pairs: int, left: float) -> dict[str, Workload]:
    """What each way of `WAYS` puts through the model for one question."""
    plain = Workload(answered=(prompt,))
    return {
        "vanilla": plain,
        "engine": plain,
        "transplant": plain,
        "short_aux": replace(plain, read=(max(1, prompt // 2),)),
        "long_aux": replace(plain, read=(2 * prompt,)),
        "steer": plain,
        "both_prompts": Workload(answered=(prompt, prompt)),
        "pairs": Workload((prompt,), (prompt,), pairs, left),
    }


@dataclass(frozen=True, slots=True)
class OverRounds:
    """Median, lowest and highest of a figure over rounds; all the same where it was computed."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> OverRounds | None:
        """Of the values of all rounds; None without any."""
        return cls(median(values), min(values), max(values)) if values else None


Figures = Mapping[str, OverRounds | None]


@dataclass(frozen=True, slots=True)
class WayCost:
    """What one way of answering costs.

    Attributes:
        way: a name of `WAYS`; `about` says what it is.
        prompt_tokens, batch_size: of the questions.
        tokens: through the model for one answer.
        multiply_adds: for one answer.
        counted: multiply-adds as multiples of those of vanilla, by phase; None without a second
            token.
        seconds: by phase (`PHASES`), of a batch; empty if nothing was measured or planned.
        ratios: the same as multiples of vanilla's in the same round.
        expected: ratio of whole answers if each phase took as many times vanilla's own time as it
            has multiply-adds; None where nothing was measured or planned.
        tokens_per_second: new tokens of answers.
        memory_bytes: measured: what is taken beside weights at most; planned: weights, keys and
            values.
        waits_for: planned: whether reading prompts, and decoding, wait for "compute" or "memory".
    """

    way: str
    about: str
    prompt_tokens: int
    batch_size: int
    tokens: float
    multiply_adds: float
    counted: Mapping[str, float | None]
    seconds: Figures
    ratios: Figures
    expected: float | None = None
    tokens_per_second: OverRounds | None = None
    memory_bytes: float | None = None
    waits_for: tuple[str, str] | None = None


Rounds = Sequence[tuple[float, float]]
"""Of each round the seconds to the first new token, and those of whole answers."""


def with_times(
    ways: Mapping[str, WayCost], rounds: Mapping[str, Rounds], new_tokens: int
) -> Iterator[WayCost]:
    """Ways with their times, and these as multiples of vanilla's in the same round."""
    vanilla = _by_phase(rounds["vanilla"], new_tokens)
    for name, way in ways.items():
        own = _by_phase(rounds[name], new_tokens)
        given = way.batch_size * new_tokens
        yield replace(
            way,
            seconds={phase: OverRounds.of(own[phase]) for phase in PHASES},
            ratios={phase: OverRounds.of(_ratios(own[phase], vanilla[phase])) for phase in PHASES},
            expected=median(_expected(way.counted, *each) for each in rounds["vanilla"]),
            tokens_per_second=OverRounds.of([given / seconds for seconds in own["answer"]]),
        )


def _expected(counted: Mapping[str, float | None], first: float, answer: float) -> float:
    """The ratio of whole answers, by the multiply-adds of each phase and vanilla's time in it."""
    phases = (counted["first_token"] or 0) * first + (counted["new_token"] or 0) * (answer - first)
    return phases / answer


def _by_phase(rounds: Rounds, new_tokens: int) -> dict[str, list[float]]:
    steps = new_tokens - 1
    each = [(answer - first) / steps for first, answer in rounds] if steps else []
    firsts, answers = zip(*rounds, strict=True)
    return dict(zip(PHASES, (list(firsts), each, list(answers)), strict=True))


def _ratios(own: Sequence[float], vanilla: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(own, vanilla, strict=True) if other > 0]


@dataclass(frozen=True, slots=True)
class Overhead(Shown):
    """What ways of answering cost.

    Attributes:
        kind: "measured", "planned" or "counted".
        model: its name, or that of a size.
        shape: sizes of the model; `parameters` are the weights of linear layers and embeddings.
        machine: what the times are of; empty if multiply-adds are only counted.
        settings: what was asked.
        assumptions: sentences on what the figures are.
        ways: every way for every length and batch.
    """

    kind: str
    model: str
    shape: Shape
    parameters: int
    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    assumptions: tuple[str, ...]
    ways: tuple[WayCost, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each way, length and batch; columns such as ``ratios.answer.median``."""
        import pandas as pd

        return pd.json_normalize([asdict(way) for way in self.ways])

    def cells(self) -> Iterator[tuple[str, list[WayCost]]]:
        """The ways of each length and batch, under a title."""
        for key in dict.fromkeys((way.prompt_tokens, way.batch_size) for way in self.ways):
            same = [way for way in self.ways if (way.prompt_tokens, way.batch_size) == key]
            yield f"Prompts of {key[0]:,} tokens, {key[1]:,} together", same

    def table(self, ways: Sequence[WayCost]) -> tuple[tuple[str, ...], list[list[str]]]:
        """Head and rows of a table for a terminal; without times, of what is counted."""
        head: tuple[str, ...]
        if self.kind == "counted":
            head = ("way", "tokens", "multiply-adds", *PHASE_TITLES)
            rows = [[f"{way.tokens:,.0f}", f"{way.multiply_adds:.3g}"] for way in ways]
        else:
            head = ("way", "first token", "new token", "tokens/s", "memory", *_TIMES)
            rows = [formatting.times(asdict(way)) for way in ways]
        both = zip(ways, rows, strict=True)
        return head, [[way.about, *cells, *shown_ratios(way)] for way, cells in both]

    def write(self, out: str | Path) -> list[Path]:
        """Write ``overhead.json``, ``overhead.html`` and the figures into a folder.

        Raises:
            MissingExtraError: the libraries of the extra ``report`` are not installed.
            RunFolderError: the folder cannot be written.
        """
        need("report")
        from crosslatent.report.overhead_page import write_overhead

        return write_overhead(self.to_dict(), Path(out))

    def _card(self) -> Card:
        tables = [
            Rows([(way.about, *shown_ratios(way)) for way in ways], (title, *PHASE_TITLES))
            for title, ways in self.cells()
        ]
        return Card(
            f"Overhead on {self.model}, {self.kind}", [*tables, Sentences(self.assumptions)]
        )


PHASE_TITLES = ("first token", "new token", "answer")
_TIMES = tuple(f"\u00d7 {title.split()[0]} (counted)" for title in PHASE_TITLES)


def shown_ratios(way: WayCost) -> list[str]:
    """Of each phase the ratio to vanilla, and in brackets that of counted multiply-adds."""
    found = []
    for phase in PHASES:
        counted, measured = way.counted[phase], way.ratios.get(phase)
        said = "" if counted is None else f"{counted:.2f}"
        found.append(said if measured is None else f"{measured.median:.2f} ({said})")
    return found
