"""A made-up run of any size whose upper bounds are known beforehand.

Questions in many languages, all layer pairs, two components. What is right follows from the number
of the question and the pair alone (`is_right`), so every bound can be counted without the analysis.
Everything else is drawn: most transplants leave the output as it was, the others give one of some
hundred other outputs of about twenty tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crosslatent.core.specs import Component
from crosslatent.runs.schema import ROWS

COMPONENTS: tuple[Component, ...] = ("attn", "ffn")
OPTIONS = ("Africa", "Asia", "Europe", "America")
OUTPUTS = 120
"""Outputs of one question beside the unmodified one."""
UNCHANGED = 0.4
"""Share of transplants that leave the output as it was."""
PILOT = 0.4
"""Share of each language's questions that are of the split "pilot"."""
_SYLLABLES = np.array(["ka", "lo", "mi", "ran", "te", "shu", "po", "vel", "ni", "ga", "đi", "ñu"])

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a run is.

    Attributes:
        languages: how many; the language of a question is its number modulo this.
        questions: of each language.
        layers: of the model; every pair of them is run.
        questions_per_part: questions whose rows are written as one part.
    """

    languages: int = 100
    questions: int = 25
    layers: int = 32
    questions_per_part: int = 1

    @property
    def items(self) -> int:
        """Questions of the run."""
        return self.languages * self.questions

    @property
    def rows_per_item(self) -> int:
        """Rows of one question: vanilla, translate_test, and every pair of every component."""
        return 2 + len(COMPONENTS) * self.layers**2

    @property
    def rows(self) -> int:
        """Rows of the run."""
        return self.items * self.rows_per_item

    @property
    def parts(self) -> int:
        """Parts that the rows are written in."""
        return -(-self.items // self.questions_per_part)


FULL = Shape()
"""5,125,000 rows in 2,500 parts."""
SMALL = Shape(languages=10, questions=10, layers=16)
"""51,400 rows in 100 parts."""


def is_right(component: Component, question: Ints, source: Ints, target: Ints) -> Bools:
    """Whether a transplant answers a question rightly; arrays broadcast.

    One in three is answered rightly without a transplant; some target layers break it. Of the
    others, one in five is never solved, and the rest at one target for each source: sources below
    the question's number (modulo 16) do nothing.
    """
    shift = 3 * (component == "ffn")
    knows = question % 3 == 0
    breaks = (target == 0) & ((source + question + shift) % 7 == 0)
    solves = (
        (question % 5 != 0)
        & (source >= (question + shift) % 16)
        & ((source + 2 * question + shift) % 16 == target)
    )
    right: Bools = np.where(knows, ~breaks, solves)
    return right


def known_bounds(shape: Shape, component: Component) -> Mapping[str, Any]:
    """Questions that any pair solves: overall, by_source, by_target and by_language, as counts."""
    question = np.arange(shape.items).reshape(-1, 1, 1)
    layers = np.arange(shape.layers)
    right = is_right(component, question, layers[:, None], layers)
    solved: Bools = np.asarray(right.any(axis=(1, 2)))
    return {
        "overall": int(solved.sum()),
        "by_source": right.any(axis=2).sum(axis=0).tolist(),
        "by_target": right.any(axis=1).sum(axis=0).tolist(),
        "by_language": {
            language(number): int(solved[number :: shape.languages].sum())
            for number in range(shape.languages)
        },
    }


def language(number: int) -> str:
    """A code from the range that ISO 639 leaves for private use."""
    return f"q{chr(97 + number // 20)}{chr(97 + number % 20)}"


def item_id(question: int) -> str:
    """The id of a question; ids sort by number."""
    return f"q{question:06d}"


def manifest(shape: Shape) -> dict[str, Any]:
    """Content of run.json."""
    pairs = ",".join(f"{s}:{t}" for s in range(shape.layers) for t in range(shape.layers))
    return {
        "created": "2026-01-01T00:00:00+00:00",
        "command": "python -m benchmarks.scale",
        "versions": {"crosslatent": "0.1.0"},
        "model": {"name": "made up", "n_layers": shape.layers, "d_model": 4096, "dtype": "float32"},
        "task": {
            "name": "made-up",
            "title": "Made-up questions",
            "direction": "en->x",
            "type": "understanding",
            "rule": "option",
            "metric": "accuracy",
            "hash": f"{shape.languages}x{shape.questions}",
        },
        "spec": {
            "components": list(COMPONENTS),
            "pairs": {"all": pairs},
            "controls": [],
            "seed": 0,
            "max_new_tokens": 20,
        },
        "headline": None,
    }


def items(shape: Shape) -> list[dict[str, Any]]:
    """The rows of the items table."""
    return [_item(shape, question) for question in range(shape.items)]


def _item(shape: Shape, question: int) -> dict[str, Any]:
    lang, number = language(question % shape.languages), question // shape.languages
    words = _sentence(np.random.default_rng([1, question]), 30)
    return {
        "item": item_id(question),
        "lang": lang,
        "aux_lang": "en",
        "main": f"{words} ({lang}):",
        "aux": f"Question {question}, on which continent does it lie:",
        "answer": OPTIONS[question % 4],
        "options": list(OPTIONS),
        "labels": list(OPTIONS),
        "aux_answer": None,
        "aux_labels": None,
        "shares": None,
        "shots": [],
        "cluster": item_id(question),
        "split": "pilot" if number < PILOT * shape.questions else "final",
        "strata": {},
        "paraphrase": None,
        "main_token": ":",
        "aux_token": ":",
        "main_length": 60,
        "aux_length": 14,
    }


def parts(shape: Shape) -> Iterator[list[int]]:
    """The questions of every part, in the order in which the parts are written."""
    step = shape.questions_per_part
    for start in range(0, shape.items, step):
        yield list(range(start, min(start + step, shape.items)))


def part(shape: Shape, questions: list[int]) -> pa.Table:
    """The rows of some questions, as one part holds them."""
    return pa.concat_tables([_rows(shape, question) for question in questions])


def _rows(shape: Shape, question: int) -> pa.Table:
    """All rows of one question, in the order of a sweep."""
    rng = np.random.default_rng([0, question])
    cells = shape.layers**2
    source, target = (np.tile(np.ravel(axis), 2) for axis in np.indices((shape.layers,) * 2))
    kind = np.repeat([0, 1], cells)
    right = np.concatenate(
        [
            [question % 3 == 0, question % 5 != 0],
            *(
                is_right(name, np.array(question), source[:cells], target[:cells])
                for name in COMPONENTS
            ),
        ]
    )
    n = len(right)
    # Every output stands for a right or a wrong answer: even ones are right.
    other = 2 * rng.integers(1, OUTPUTS // 2, n)
    text = np.where(rng.random(n) < UNCHANGED, 0, other) + ~right
    gold = question % 4
    named = np.where(right, gold, (gold + 1 + text // 2 % 3) % 4)
    logprobs = -rng.gamma(1.0, 3.0, (n, 4)).astype(np.float32)
    outputs = [_sentence(rng, 20) for _ in range(OUTPUTS + 2)]
    lengths = rng.integers(14, 22, OUTPUTS + 2)
    ids = [rng.integers(3, 128_000, length).tolist() for length in lengths]
    plain = np.arange(n) < 2
    columns: dict[str, Any] = {
        "item": _constant(item_id(question), n),
        "lang": _constant(language(question % shape.languages), n),
        "component": _named(COMPONENTS, np.concatenate([[0, 0], kind]), plain),
        "source": pa.array(np.concatenate([[0, 0], source]), pa.int16(), mask=plain),
        "target": pa.array(np.concatenate([[0, 0], target]), pa.int16(), mask=plain),
        "control": _named(("vanilla", "translate_test", "none"), np.minimum(np.arange(n), 2)),
        "output": pa.array(outputs).take(pa.array(text)),
        "output_ids": pa.array(ids, pa.list_(pa.int32())).take(pa.array(text)),
        "output_lang": _named((language(question % shape.languages), "en"), text % 5 // 4),
        "prediction": _named(OPTIONS, named, text == 7),
        "correct": pa.array(right),
        "correct_by_rule": _by_rule().take(pa.array(right.astype(np.int8))),
        "scores": pa.array([[]], ROWS.field("scores").type).take(pa.array(np.zeros(n, np.int8))),
        "option_logprobs": pa.FixedSizeListArray.from_arrays(pa.array(logprobs.ravel()), 4),
        "gold_logprob": pa.array(logprobs[:, gold]),
        **{f"first_{name}": _drawn(rng, n) for name in ("logprob", "entropy", "margin")},
        "min_margin": _drawn(rng, n),
        "finite": pa.array(np.ones(n, np.bool_)),
        "path": _constant("shared-prefix", n),
        "seconds": pa.array(np.full(n, 0.004 + question % 7 * 1e-4, np.float32)),
    }
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(n, field.type)
        for field in ROWS
    ]
    return pa.table(arrays, schema=ROWS)


def _by_rule() -> pa.Array:
    """What rules say of a wrong answer, and of a right one."""
    kind = ROWS.field("correct_by_rule").type
    pairs = [[("option", right), ("contains", right)] for right in (False, True)]
    return pa.array([[{"key": name, "value": said} for name, said in one] for one in pairs], kind)


def _sentence(rng: np.random.Generator, tokens: int) -> str:
    """About as many words of two syllables as a text of some tokens has."""
    picked = rng.integers(0, len(_SYLLABLES), (tokens // 2, 3))
    return " ".join("".join(word) for word in _SYLLABLES[picked].tolist())


def _drawn(rng: np.random.Generator, n: int) -> pa.Array:
    return pa.array(rng.gamma(1.0, 2.0, n).astype(np.float32))


def _constant(text: str, n: int) -> pa.Array:
    return _named((text,), np.zeros(n, np.int64))


def _named(names: tuple[str, ...], index: NDArray[Any], missing: Bools | None = None) -> pa.Array:
    indices = pa.array(index, pa.int32(), mask=missing)
    kind = pa.dictionary(pa.int32(), pa.string())
    return pa.DictionaryArray.from_arrays(indices, pa.array(names)).cast(kind)
