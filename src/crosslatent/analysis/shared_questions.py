"""Which questions two runs share, what else differs between them, and whether they are one run.

The identity of a question is what the model is asked and what is right: its text, its examples, its
options and its gold answers. Where both tokenizers are the same, equal texts are equal token ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crosslatent.analysis.data import RunData
from crosslatent.analysis.picked import MOST_STRATUM_VALUES
from crosslatent.core.errors import UsageError
from crosslatent.runs.manifest import IDENTITY, INPUTS, sessions_of

if TYPE_CHECKING:
    from crosslatent.runs.reader import RunReader

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class SharedCounts:
    """How many questions both runs have.

    Attributes:
        n: shared questions; `clusters`: independent facts among them.
        of_first, of_second: questions of each run.
        other_counterpart: shared questions whose counterpart (aux) is another one.
        other_tokens: shared questions whose prompt has another number of tokens.
        same_tokenizer: None where a run does not record it.
    """

    n: int
    clusters: int
    of_first: int
    of_second: int
    other_counterpart: int
    other_tokens: int
    same_tokenizer: bool | None


class SharedQuestions(NamedTuple):
    """The questions of both runs.

    Attributes:
        first, second: their places in the `Items` of either run, shape (n,).
        clusters: shape (n,), of the run that joins more of them.
    """

    first: Places
    second: Places
    clusters: list[str]
    counts: SharedCounts


class _Text(NamedTuple):
    """A question of a run: `question` without its counterpart, and `counterpart`."""

    question: Hashable
    counterpart: Hashable
    tokens: int


_COLUMNS = "main, answer, other_answers, options, shots, aux, aux_lang, main_length"


def _texts(data: RunData) -> list[_Text]:
    rows = data.con.execute(
        f"SELECT {_COLUMNS} FROM items JOIN places p USING (item) ORDER BY p.place"
    ).fetchall()
    return [_text(*row) for row in rows]


def _text(
    main: str,
    answer: str | None,
    others: list[str] | None,
    options: list[str] | None,
    shots: list[list[str]] | None,
    *counterpart: Any,
) -> _Text:
    golds = frozenset(gold for gold in (answer, *(others or ())) if gold is not None)
    asked = [tuple(shot[: len(shot) // 2]) for shot in shots or ()]
    *aux, tokens = counterpart
    return _Text((main, tuple(asked), tuple(options or ()), golds), tuple(aux), int(tokens))


def shared_questions(first: RunData, second: RunData) -> SharedQuestions:
    """Pair up the questions of two runs, by what is asked and what is right.

    A question with the same counterpart comes first; what is left is paired where the question
    occurs once in either run, whatever its counterpart.
    """
    sides = _texts(first), _texts(second)
    pairs = _paired(*([(one.question, one.counterpart) for one in side] for side in sides))
    left = [[place for place in range(len(side)) if place not in done] for side, done in
            zip(sides, (set(pairs), set(pairs.values())), strict=True)]  # fmt: skip
    others = _once(
        *({p: side[p].question for p in own} for side, own in zip(sides, left, strict=True))
    )
    places = np.array(sorted((pairs | others).items()), dtype=np.intp).reshape(-1, 2)
    clusters = _clusters(first, second, places)
    tokens = [(sides[0][a].tokens, sides[1][b].tokens) for a, b in places]
    counts = SharedCounts(
        n=len(places),
        clusters=len(set(clusters)),
        of_first=len(sides[0]),
        of_second=len(sides[1]),
        other_counterpart=len(others),
        other_tokens=sum(a != b for a, b in tokens),
        same_tokenizer=_same_tokenizer(first.manifest, second.manifest),
    )
    return SharedQuestions(places[:, 0], places[:, 1], clusters, counts)


def _paired(first: Sequence[Hashable], second: Sequence[Hashable]) -> dict[int, int]:
    """Places of equal keys; of keys that occur several times, the first with the first."""
    there = {key: place for place, key in enumerate(_numbered(second))}
    return {at: there[key] for at, key in enumerate(_numbered(first)) if key in there}


def _numbered(keys: Sequence[Hashable]) -> Iterator[tuple[Hashable, int]]:
    seen: Counter[Hashable] = Counter()
    for key in keys:
        yield key, seen[key]
        seen[key] += 1


def _once(first: Mapping[int, Hashable], second: Mapping[int, Hashable]) -> dict[int, int]:
    """Places of equal keys that occur once on either side."""
    counts = [Counter(side.values()) for side in (first, second)]
    there = {key: place for place, key in second.items()}
    return {
        place: there[key]
        for place, key in first.items()
        if key in there and counts[0][key] == counts[1][key] == 1
    }


def _clusters(first: RunData, second: RunData, places: Places) -> list[str]:
    """Clusters of the shared questions: of the run that joins more of them, where they differ."""
    sides = first.items.cluster[places[:, 0]], second.items.cluster[places[:, 1]]
    found: list[str] = min(sides, key=lambda names: len(np.unique(names))).tolist()
    return found


def _same_tokenizer(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool | None:
    hashes = [(one.get("model") or {}).get("tokenizer_hash") for one in (first, second)]
    return None if None in hashes else hashes[0] == hashes[1]


def same_model(first: RunData, second: RunData) -> bool:
    """Whether both runs are of one model, by the hashes of its files; without them, by its name."""
    sides = [one.manifest.get("model") or {} for one in (first, second)]
    for names in (("config_hash", "weights_hash"), ("name", "n_layers")):
        found = [[side.get(name) for name in names] for side in sides]
        if None not in found[0] + found[1]:
            return found[0] == found[1]
    return False


def refuse_same_run(first: RunReader, second: RunReader) -> None:
    """Refuse to compare a run with itself or with a copy of it.

    Raises:
        UsageError: it is one run.
    """
    paths = [str(one.path) for one in (first, second)]
    folders = [Path(path).resolve() if "://" not in path else path for path in paths]
    if folders[0] == folders[1] or _origin(first) == _origin(second):
        same = "the same folder" if folders[0] == folders[1] else "copies of one run"
        raise UsageError(
            f"{paths[0]!r} and {paths[1]!r} are {same}: give two runs to compare, or one run alone."
        )


def _origin(run: RunReader) -> list[Any]:
    """What a copy of a run has in common with it, and another run has not."""
    began = [(one.get("started"), one.get("host")) for one in sessions_of(run.manifest)]
    return [run.manifest.get(key) for key in ("created", INPUTS, *IDENTITY)] + began[:1]


def what_differs(first: RunData, second: RunData) -> list[str]:
    """Settings that are not the same, such as ``strength: 1.0 and 0.5``; the first run's first."""
    sides = [_settings(one) for one in (first, second)]
    names = dict.fromkeys([*sides[0], *sides[1]])
    return [
        f"{name}: {_said(sides[0].get(name))} and {_said(sides[1].get(name))}"
        for name in names
        if sides[0].get(name) != sides[1].get(name)
    ]


_LISTED = (
    "components",
    "controls",
    "pairs",
    "control_splits",
    "attribution",
    "samples",
    "keep_vectors",
)
"""Arguments of a sweep that say what was run: what is not in both is not compared."""


def _settings(data: RunData) -> dict[str, Any]:
    model, task = data.manifest.get("model") or {}, data.manifest.get("task") or {}
    found = {f"model {name}": model.get(name) for name in ("dtype", "n_layers")}
    found |= {"answer rule": task.get("rule")}
    return found | {
        name.replace("_", " "): value
        for name, value in data.spec.items()
        if name not in _LISTED and isinstance(value, str | int | float | None)
    }


def _said(value: Any) -> str:
    return (
        "not recorded"
        if value is None
        else str(value).lower()
        if value in (True, False)
        else str(value)
    )


def only_in_one(first: RunData, second: RunData) -> Iterator[str]:
    """Sentences on components, languages, splits and strata that one of two runs alone has."""
    for kind, (ours, theirs) in _kinds(first, second):
        for name, alone in (("A", ours - theirs), ("B", theirs - ours)):
            if alone:
                yield f"Only {name} has the {kind} {', '.join(sorted(alone))}."


def _kinds(first: RunData, second: RunData) -> Iterator[tuple[str, Sequence[set[str]]]]:
    runs = first, second
    yield "components", [set(map(str, one.components)) for one in runs]
    yield "languages", [set(one.items.languages) for one in runs]
    yield "splits", [set(one.items.splits) for one in runs]
    strata = [_strata(one) for one in runs]
    for name in sorted({*strata[0], *strata[1]}):
        values = [side.get(name, set()) for side in strata]
        if max(map(len, values)) <= MOST_STRATUM_VALUES:
            yield f"values of the stratum {name}", values


def _strata(data: RunData) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for own in data.items.strata:
        for name, value in own.items():
            found.setdefault(name, set()).add(str(value))
    return found
