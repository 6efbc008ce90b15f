"""This package's training: what enters the trained blocks is computed once and kept on disk."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.lens.cases import BATCH, CENTRAL, TRAINED
from benchmarks.lens.task import Prepared, Trained
from crosslatent.lens.space import load_space
from crosslatent.lens.training.fork import parameters_of
from crosslatent.lens.training.lens_objective import train as train_lens
from crosslatent.lens.training.train_spec import TrainSpec
from crosslatent.model import load

SEED = 0


def prepare(folder: Path) -> Prepared:
    """Load the model; trainings share one cache, empty at first."""
    model = load(folder / "model", device="cpu")
    space = load_space(folder / "space")
    cache = TemporaryDirectory(prefix="crosslatent-bench-")

    def train(
        target: str, epochs: int, rows: list[dict[str, str]], order: list[list[int]]
    ) -> Trained:
        del order  # follows from the seed
        tuned = train_lens(
            model,
            space,
            [{lang: row[lang] for lang in (CENTRAL, target)} for row in rows],
            central=CENTRAL,
            spec=TrainSpec(
                blocks=TRAINED, epochs=epochs, batch_size=BATCH, held_out=0.0, seed=SEED
            ),
            cache=Path(cache.name),
        )
        record = tuned.record
        losses = [dict(point.terms) for point in record.points("train")]
        weights = parameters_of(tuned.model, record.blocks)
        return Trained(losses, {name: w.detach() for name, w in weights.items()}, record.trunk)

    def reset() -> None:
        """Nothing to do: the model that was loaded is never changed."""

    return Prepared(train, reset, (model.hf,))
