"""`train`: the top blocks of a model, towards language subspaces (Lens, arXiv 2410.04407, 3.2).

What is below the trained blocks is computed once (`trunk`), and so is the reference; steps run the
trained blocks alone (`top`), in a model that shares every other weight with the original (`fork`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crosslatent.core.errors import SpaceError, UsageError
from crosslatent.core.seen import Seen, row_key
from crosslatent.core.specs import canonical_hash
from crosslatent.lens.space import Space
from crosslatent.lens.training import answers
from crosslatent.lens.training.batches import Rows, as_rows, encode_rows
from crosslatent.lens.training.checkpoints import timed
from crosslatent.lens.training.execution import carry_out
from crosslatent.lens.training.job import Job, Made, Trained, everything_seen
from crosslatent.lens.training.loop import Objective, Show
from crosslatent.lens.training.losses import ALIGN, RETAIN, SEPARATE, projections
from crosslatent.lens.training.objective import LensObjective
from crosslatent.lens.training.preconditions import check, check_languages
from crosslatent.lens.training.train_spec import TrainSpec
from crosslatent.model import Model
from crosslatent.tasks import Item, Task
from crosslatent.tasks.task import fact_key, facts_in, text_key

LENS, ANSWERS = OBJECTIVES = ("lens", "answers")

__all__ = ["ANSWERS", "LENS", "OBJECTIVES", "Trained", "train", "train_answers"]


def train(
    model: Model,
    space: Space,
    parallel: Sequence[Mapping[str, str]] | Mapping[str, Sequence[str]],
    *,
    central: str = "en",
    languages: Sequence[str] | None = None,
    groups: Sequence[Hashable] | None = None,
    spec: TrainSpec | None = None,
    out: Path | None = None,
    cache: Path | None = None,
    new: bool = False,
    progress: Show | None = None,
    about: Mapping[str, Any] | None = None,
    task: Task | None = None,
) -> Trained:
    """Train a model's top blocks with the losses of Lens on parallel texts.

    Args:
        model: left exactly as it is.
        space: its language subspaces, from `probe`.
        parallel: rows of the same text by language, or equally long lists by language. A row needs
            the central language and one target language; others are counted and left out.
        central: the central language; that of `space`.
        languages: the target languages; None for all others in `parallel`.
        groups: what each row belongs to, such as the fact that it asks: rows of one group are held
            out together; None if every row is by itself.
        spec: the settings; None for those of the released training.
        out: folder for the trained model, its record and checkpoints. The same call again goes on
            from the last checkpoint, with the same result.
        cache: folder where what enters the trained blocks is kept for other runs; it is removed
            after training by default.
        new: throw away a run that is in `out`.
        progress: called with the progress of training.
        about: for the record: "space" (a folder) and "command".
        task: the task that rows are from, if they are from one: which facts were trained on is
            recorded with its name. Without it, `groups` that are text count as facts.

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
    spec = timed(spec or TrainSpec(), out, new=new)
    given = as_rows(parallel)
    if groups is not None and len(groups) != len(given):
        raise UsageError(f"There are {len(given)} rows, but {len(groups)} groups: give one a row.")
    targets = _targets(given, central, languages)
    check_languages(space, central, targets)
    check(spec, model, space, targets)
    rows = encode_rows(
        model,
        given,
        central=central,
        languages=targets,
        chat=spec.as_chat,
        max_tokens=spec.max_tokens,
    )
    layers = spec.read_at(model.n_layers)

    def make(made: Made) -> Objective:
        spaces = projections(
            space, layers, targets, spec.strength_of, device=model.device, dtype=made.dtype
        )
        weights = {ALIGN: spec.align, SEPARATE: spec.separate, RETAIN: spec.retain}
        return LensObjective(
            made.tuned, made.top, rows.rows, central, made.trunks, spaces, weights, made.precision
        )

    job = Job(
        objective=LENS,
        model=model,
        spec=spec,
        languages=list(targets),
        central=central,
        layers=layers,
        texts={lang: rows.texts(lang, central) for lang in (central, *targets)},
        groups=rows.numbers if groups is None else [groups[number] for number in rows.numbers],
        left_out=rows.left_out + int(getattr(parallel, "left_out", 0)),
        cut=rows.cut,
        data=_data_hash(rows, space, targets, groups),
        make=make,
        about=dict(about or {}),
        seen=everything_seen(_seen(rows, given, (central, *targets), groups, task), model, space),
    )
    return carry_out(job, out, cache, new=new, show=progress)


def train_answers(
    model: Model,
    items: Sequence[Item],
    *,
    spec: TrainSpec | None = None,
    out: Path | None = None,
    cache: Path | None = None,
    new: bool = False,
    progress: Show | None = None,
    about: Mapping[str, Any] | None = None,
    task: Task | None = None,
) -> Trained:
    """Train the same blocks on gold answers instead: the baseline of supervised fine-tuning.

    Cross-entropy on the answer's tokens and the token that ends it, after the prompt in the target
    language and, unless ``spec.central_answers`` is off, after its counterpart (xSFT of
    arXiv 2410.04407, section 4). Frozen cache, blocks and schedule are those of `train`; a prompt
    is a row, so the same questions are more rows and steps than there, unless ``spec.max_steps``
    says how many.

    Args:
        model: left exactly as it is.
        items: questions; those without a gold answer are counted and left out.
        spec: the settings; those of the losses of Lens count for nothing here.
        out: see `train`.
        cache: see `train`.
        new: see `train`.
        progress: see `train`.
        about: see `train`.
        task: see `train`.

    Raises:
        UsageError, ModelError, RunFolderError, TrainingError: see `train`.
    """
    spec = timed(spec or TrainSpec(), out, new=new)
    job = answers.job_of(model, items, spec, dict(about or {}), None if task is None else task.name)
    return carry_out(job, out, cache, new=new, show=progress)


def _targets(
    rows: Sequence[Mapping[str, str]], central: str, languages: Sequence[str] | None
) -> tuple[str, ...]:
    """The target languages."""
    there = dict.fromkeys(lang for row in rows for lang in row)
    named = tuple(there) if languages is None else tuple(dict.fromkeys(languages))
    targets = tuple(lang for lang in named if lang != central)
    if not targets:
        raise SpaceError(
            f"There is no target language beside {central!r}: name one that the texts have "
            f"({', '.join(there) or 'they have none'})."
        )
    return targets


def _seen(
    rows: Rows,
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
    rows: Rows, space: Space, targets: Sequence[str], groups: Sequence[Hashable] | None
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
