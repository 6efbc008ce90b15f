"""The objective "lens": losses, rows of parallel texts to their terms, and `train`.

Lens (arXiv 2410.04407, section 3.2; docs/methods.md, 7.2). For a layer, with ``h`` the state of a
text's last token, ``ref`` the untouched model, ``c`` the central language and ``l`` a target one::

    align     |P_a h_c - P_a h_l|^2                            what is shared comes together
    separate  |(P_s h_l - P_s h_l^ref) - lambda_l D_l|^2       the target moves to its own place
    retain    |mean_t h_c - mean_t h_c^ref|^2                  the central language stays

Every square is a mean over elements. Projections go through the bases, never through a d_model by
d_model matrix: P_a h has one coordinate, so |P_a x|^2 = (u.x)^2 with u = M_a / |M_a|; M_s is
orthonormal, so |P_s x|^2 = |M_s^T x|^2.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from crosslatent.core.errors import SpaceError, UsageError
from crosslatent.core.seen import Seen, row_key
from crosslatent.core.settings import documented
from crosslatent.core.specs import Layer, canonical_hash
from crosslatent.lens.compatibility import check_languages, check_training
from crosslatent.lens.space import Space
from crosslatent.lens.training.execution import (
    Trained,
    TrainingJob,
    begun,
    carry_out,
    everything_seen,
)
from crosslatent.lens.training.frozen_cache import batches
from crosslatent.lens.training.parallel_rows import (
    EncodedRow,
    EncodedRows,
    Ids,
    as_rows,
    encode_rows,
)
from crosslatent.lens.training.train_spec import TrainOptions
from crosslatent.lens.training.trained_blocks import States, TrainedBlocks, last_token, token_mean
from crosslatent.model import Model
from crosslatent.tasks import Task
from crosslatent.tasks.task import fact_key, facts_in, text_key

ALIGN, SEPARATE, RETAIN = ("align", "separate", "retain")
LAST, MEAN = "last", "mean"

Pooled = dict[tuple[Layer, str], Tensor]
"""By layer and pooling, texts d_model."""


@dataclass(frozen=True, slots=True)
class Projections:
    """The subspaces of one layer as tensors.

    Attributes:
        shared: unit vector along M_a.
        specific: M_s.
        shifts: by target language lambda_l D_l in the basis `specific`.
    """

    shared: Float[Tensor, " d_model"]
    specific: Float[Tensor, "d_model rank"]
    shifts: Mapping[str, Float[Tensor, " rank"]]

    def align(self, central: States, target: States) -> Float[Tensor, ""]:
        """Sum over rows of |P_a h_c - P_a h_l|^2 / d_model."""
        return ((central - target) @ self.shared).square().sum() / central.shape[-1]

    def separate(self, target: States, reference: States, lang: str) -> Float[Tensor, ""]:
        """Sum over rows of |P_s (h_l - h_l^ref) - lambda_l D_l|^2 / d_model."""
        moved = (target - reference) @ self.specific - self.shifts[lang]
        return moved.square().sum() / target.shape[-1]


def retain(central: States, reference: States) -> Float[Tensor, ""]:
    """Sum over rows of |mean_t h_c - mean_t h_c^ref|^2 / d_model."""
    return (central - reference).square().sum() / central.shape[-1]


def projections(
    space: Space,
    layers: Sequence[Layer],
    languages: Sequence[str],
    strength: Callable[[str], float],
    *,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[Layer, Projections]:
    """The subspaces of some layers as tensors; `strength` gives lambda_l of a target language."""

    def of_layer(layer: Layer) -> Projections:
        subspace = space.at(layer)
        directions = {lang: subspace.coordinates(subspace.direction(lang)) for lang in languages}
        shared = subspace.agnostic / np.linalg.norm(subspace.agnostic)
        return Projections(
            torch.tensor(shared, dtype=dtype, device=device),
            torch.tensor(subspace.specific, dtype=dtype, device=device),
            {
                lang: torch.tensor(strength(lang) * values, dtype=dtype, device=device)
                for lang, values in directions.items()
            },
        )

    return {layer: of_layer(layer) for layer in layers}


@dataclass(frozen=True, slots=True)
class LensObjective:
    """The losses of Lens on rows of parallel texts, in float32.

    Attributes:
        top: the trained blocks, on what enters them and the reference by language.
        rows: parallel texts.
        central: the central language.
        projections: the subspaces, by layer; terms are averaged over these.
        weights: of each term.
    """

    top: TrainedBlocks
    rows: Sequence[EncodedRow]
    central: str
    projections: Mapping[Layer, Projections]
    weights: Mapping[str, float]

    def sizes(self, rows: Sequence[int]) -> dict[str, float]:
        """What sums over these rows are divided by: rows by language."""
        counts = Counter(lang for row in rows for lang in self.rows[row].targets)
        return {**{lang: float(n) for lang, n in counts.items()}, self.central: float(len(rows))}

    def pieces(self, rows: Sequence[int]) -> list[list[int]]:
        """The rows in pieces that fit into memory together with what their gradient takes."""
        return self.top.pieces({row: padded_tokens(self.rows[row]) for row in rows})

    def terms(self, rows: Sequence[int], sizes: Mapping[str, float]) -> dict[str, Tensor]:
        """What some rows contribute to the terms of all rows that `sizes` is about.

        Contributions of parts add up to what all rows give at once: a mean over the rows that have
        a language, summed over languages, averaged over layers.

        Args:
            rows: numbers of the rows.
            sizes: of all rows of the step, of which these may be a part.
        """
        chosen = [self.rows[row] for row in rows]
        central = self._states([row.central for row in chosen], self.central)
        terms = {RETAIN: self._retain(chosen, central, sizes)}
        terms |= {name: torch.zeros_like(terms[RETAIN]) for name in (ALIGN, SEPARATE)}
        for lang in sorted({lang for row in chosen for lang in row.targets}):
            having = [number for number, row in enumerate(chosen) if lang in row.targets]
            ids = [chosen[number].targets[lang] for number in having]
            states, share = self._states(ids, lang), len(self.projections) * sizes[lang]
            for layer, space in self.projections.items():
                target = states[layer, LAST]
                before = self._reference(ids, lang, layer, LAST).to(target)
                pulled = space.align(central[layer, LAST][having], target)
                pushed = space.separate(target, before, lang)
                terms[ALIGN] = terms[ALIGN] + pulled / share
                terms[SEPARATE] = terms[SEPARATE] + pushed / share
        return terms

    def loss(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the terms."""
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()

    def _retain(
        self, rows: Sequence[EncodedRow], central: Pooled, sizes: Mapping[str, float]
    ) -> Tensor:
        ids = [row.central for row in rows]
        sums = []
        for layer in self.projections:
            states = central[layer, MEAN]
            before = self._reference(ids, self.central, layer, MEAN).to(states)
            sums.append(retain(states, before))
        return torch.stack(sums).sum() / (len(sums) * sizes[self.central])

    def _states(self, texts: Sequence[Ids], lang: str) -> Pooled:
        """States of texts at every layer, in the order of `texts`; with gradients."""
        model = self.top.model
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        parts: dict[tuple[Layer, str], list[Tensor]] = {}
        for ids in batches([texts[number] for number in order], model, WHOLE_BATCH):
            states, lengths = self.top.run(ids, lang)
            for layer, value in states.items():
                last = last_token(value, lengths)
                last = last.to(torch.promote_types(last.dtype, torch.float32))
                parts.setdefault((layer, LAST), []).append(last)
                if lang == self.central:
                    parts.setdefault((layer, MEAN), []).append(token_mean(value, lengths))
        back = torch.tensor(order, device=model.device).argsort()
        return {key: torch.cat(values)[back] for key, values in parts.items()}

    def _reference(self, texts: Sequence[Ids], lang: str, layer: Layer, pooling: str) -> Tensor:
        trunk = self.top.trunks[lang]
        return torch.stack([trunk.reference(ids, layer, pooling) for ids in texts])


WHOLE_BATCH = 2**62
"""Tokens of a batch, which is what the user says: only rotary embeddings split one."""


def padded_tokens(row: EncodedRow) -> int:
    """Tokens of a row's texts, all padded to the longest."""
    texts = (row.central, *row.targets.values())
    return len(texts) * max(map(len, texts))


@documented(TrainOptions)
def train(
    model: Model,
    space: Space,
    parallel: Sequence[Mapping[str, str]] | Mapping[str, Sequence[str]],
    *,
    central: str = "en",
    languages: Sequence[str] | None = None,
    groups: Sequence[Hashable] | None = None,
    **options: Unpack[TrainOptions],
) -> Trained:
    """Train a model's top blocks with the losses of Lens on parallel texts.

    What is below the trained blocks is computed once (`frozen_cache`), and so is the reference;
    steps run the trained blocks alone, in a model that shares every other weight with the original
    (`fork`).

    Args:
        model: left exactly as it is.
        space: its language subspaces, from `probe`.
        parallel: rows of the same text by language, or equally long lists by language. A row needs
            the central language and one target language; others are counted and left out.
        central: the central language; that of `space`.
        languages: the target languages; None for all others in `parallel`.
        groups: what each row belongs to, such as the fact that it asks: rows of one group are held
            out together; None if every row is by itself. Without `task`, texts count as facts.
        {settings}

    Returns:
        The trained model, which can be used like any other, and the record.

    Raises:
        SpaceError: languages that the texts or the space do not have.
        ModelError: the space is of another model, or the weights are quantised and no adapters are
            asked for.
        UsageError: blocks or layers that the model does not have; too few rows.
        RunFolderError: `out` cannot be written, or holds something else or other training.
        TrainingError: the loss is no longer a number; the last good checkpoint stays.
    """
    spec, settings = begun(options)
    given = as_rows(parallel)
    if groups is not None and len(groups) != len(given):
        raise UsageError(f"There are {len(given)} rows, but {len(groups)} groups: give one a row.")
    targets = _targets(given, central, languages)
    langs = (central, *targets)
    check_languages(space, central, targets)
    check_training(spec, model, space, targets)
    chat, most = spec.as_chat, spec.max_tokens
    rows = encode_rows(model, given, central=central, languages=targets, chat=chat, max_tokens=most)
    layers = spec.read_at(model.n_layers)
    weights = {ALIGN: spec.align, SEPARATE: spec.separate, RETAIN: spec.retain}

    def objective(top: TrainedBlocks) -> LensObjective:
        dtype, device = torch.promote_types(top.model.dtype, torch.float32), model.device
        spaces = projections(space, layers, targets, spec.strength_of, device=device, dtype=dtype)
        return LensObjective(top, rows.rows, central, spaces, weights)

    job = TrainingJob(
        objective="lens",
        make=objective,
        model=model,
        spec=spec,
        options=settings,
        languages=list(targets),
        central=central,
        layers=layers,
        texts={lang: rows.texts(lang, central) for lang in langs},
        groups=rows.numbers if groups is None else [groups[number] for number in rows.numbers],
        left_out=rows.left_out + int(getattr(parallel, "left_out", 0)),
        cut=rows.cut,
        data=_data_hash(rows, space, targets, groups),
        seen=everything_seen(_seen(rows, given, langs, groups, settings["task"]), model, space),
    )
    return carry_out(job)


def _targets(
    rows: Sequence[Mapping[str, str]], central: str, languages: Sequence[str] | None
) -> tuple[str, ...]:
    """The target languages."""
    there = dict.fromkeys(lang for row in rows for lang in row)
    named = there if languages is None else dict.fromkeys(languages)
    targets = tuple(lang for lang in named if lang != central)
    if not targets:
        raise SpaceError(
            f"There is no target language beside {central!r}: name one that the texts have "
            f"({', '.join(there) or 'they have none'})."
        )
    return targets


def _seen(
    rows: EncodedRows,
    given: Sequence[Mapping[str, str]],
    languages: Sequence[str],
    groups: Sequence[Hashable] | None,
    task: Task | None,
) -> Seen:
    """Hashes of the rows that are trained on or held out, in all of these languages."""
    ids = (ids for row in rows.rows for ids in (row.central, *row.targets.values()))
    there = (given[number].get(lang) for number in rows.numbers for lang in languages)
    read = Seen.of(rows=map(row_key, ids), texts=(text_key(text) for text in there if text))
    if task is not None:
        facts = facts_in(task.items, read.texts, task.name)
    else:
        named = (groups[number] for number in rows.numbers) if groups is not None else ()
        facts = {fact_key(group) for group in named if isinstance(group, str)}
    return replace(read, facts=Seen.of(facts=facts).facts)


def _data_hash(
    rows: EncodedRows, space: Space, targets: Sequence[str], groups: Sequence[Hashable] | None
) -> str:
    """Hash of the rows, of what is held out together, and of the subspaces that losses use."""
    digest = hashlib.sha256()
    for row in rows.rows:
        digest.update(json.dumps([row.central, sorted(row.targets.items())]).encode())
    for subspace in space.subspaces:
        for array in (subspace.agnostic, subspace.specific, subspace.means):
            digest.update(array.tobytes())
    together = None if groups is None else [repr(groups[number]) for number in rows.numbers]
    return canonical_hash([list(targets), digest.hexdigest(), together])
