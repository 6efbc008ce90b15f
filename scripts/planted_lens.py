"""Does Lens repair the model that it can repair? `python -m scripts.planted_lens`, some minutes.

Everything is fitted and chosen on the pilot questions; the others are answered once, at the end.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import crosslatent as xl
from crosslatent.engine import run_rows
from crosslatent.model import Model, load
from crosslatent.planted.planting import Planted, PlantingSettings, plant
from crosslatent.planted.weights import build
from crosslatent.planted.world import CENTRAL
from crosslatent.stats import Estimate, clustered_mean
from crosslatent.tasks import Item

NOISE = 0.2
"""Blocks of zeros alone have no slope: noise gives training something to hold on to."""
GRID = tuple(product((1e-5, 1e-4, 3e-4, 1e-3), (1, 20, 60)))
"""Learning rates and epochs; the first is the paper's."""
MARGIN = 0.02
"""How much English may lose."""


@dataclass(frozen=True)
class Ground:
    """A planted model, its space, and questions by split.

    Attributes:
        model: it.
        space: fitted on its texts.
        items: by split; ``fitted`` and ``held`` are the pilot's.
    """

    model: Model
    space: Any
    items: Mapping[str, Sequence[Item]]


def ground(name: str, folder: Path, seed: int = 0, entities: int = 36) -> Ground:
    """Plant a variant and probe its texts."""
    planted: Planted = plant(name, PlantingSettings(seed=seed, entities=entities))
    build(planted.circuit, folder, noise=NOISE, seed=seed)
    model = load(str(folder), device="cpu", dtype="float32")
    space = xl.lens.probe(model, {k: list(v) for k, v in planted.texts.items()}, central=CENTRAL)
    pilot = [item for item in planted.task.items if item.split == "pilot"]
    held = set(sorted({item.cluster for item in pilot})[::3])
    return Ground(
        model,
        space,
        {
            "fitted": [item for item in pilot if item.cluster not in held],
            "held": [item for item in pilot if item.cluster in held],
            "unseen": [item for item in planted.task.items if item.split == "unseen"],
        },
    )


def accuracy(model: Model, items: Sequence[Item], *, central: bool = False) -> Estimate:
    """Share right in the target languages, or of the English questions."""
    if central:
        items = list({item.cluster: item for item in items}.values())
    right = []
    for item in items:
        prompt, gold = (item.aux, item.aux_answer) if central else (item.main, item.answer)
        ids = model.tokenizer(prompt)["input_ids"]
        (row,) = run_rows(model, ids, [()], max_new_tokens=1)
        right.append(model.tokenizer.decode(row.ids) == gold)
    return clustered_mean(np.array(right, dtype=float), np.array([one.cluster for one in items]))


def trained(found: Ground, items: Sequence[Item], **settings: Any) -> Model:
    """The model after Lens on parallel questions."""
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    for item in items:
        rows[item.cluster] |= {CENTRAL: item.aux, item.lang: item.main}
    spec = xl.lens.TrainSpec(**settings)
    groups = list(rows)
    done = xl.lens.train(
        found.model, found.space, list(rows.values()), central=CENTRAL, groups=groups, spec=spec
    )
    model: Model = done.model
    return model


def chosen(found: Ground) -> dict[str, Any]:
    """The settings that are best on the held-out pilot questions, among those that keep English."""
    before = accuracy(found.model, found.items["held"], central=True).value or 0.0
    best: tuple[float, dict[str, Any]] = (-1.0, {})
    for lr, epochs in GRID:
        model = trained(found, found.items["fitted"], lr=lr, epochs=epochs)
        target = accuracy(model, found.items["held"]).value or 0.0
        english = accuracy(model, found.items["held"], central=True).value or 0.0
        print(f"    lr {lr:g}, epochs {epochs}: held out {target:.3f}, English {english:.3f}")
        if english >= before - MARGIN and target > best[0]:
            best = target, {"lr": lr, "epochs": epochs}
    return best[1]


def said(one: Estimate) -> str:
    """An estimate in per cent, with its interval."""
    if one.low is None or one.high is None:
        return f"{100 * (one.value or 0):.1f} %"
    return f"{100 * (one.value or 0):.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f})"


def main() -> None:
    """Print the table of both twins, or of those that are named."""
    print("| model | after | target languages, unseen | English, unseen |")
    for name in sys.argv[1:] or ("fogged", "clear"):
        with tempfile.TemporaryDirectory() as folder:
            found = ground(name, Path(folder))
            pilot = [*found.items["fitted"], *found.items["held"]]
            best = chosen(found)
            ways: dict[str, Callable[[], Model]] = {
                "nothing": lambda found=found: found.model,
                "Lens, paper's settings": lambda found=found, pilot=pilot: trained(found, pilot),
                f"Lens, {best}": lambda found=found, pilot=pilot, best=best: trained(
                    found, pilot, **best
                ),
            }
            for loss in ("align", "separate", "retain"):
                ways[f"the same without {loss}"] = (
                    lambda found=found, pilot=pilot, best=best, loss=loss: trained(
                        found, pilot, **best, **{loss: 0.0}
                    )
                )
            for way, make in ways.items():
                _print(name, way, make(), found)
            for part, alpha in product(("direction", "agnostic"), (0.5, 1.0)):
                _steered(name, found, part, alpha)


def _print(name: str, way: str, model: Model, found: Ground) -> None:
    unseen = found.items["unseen"]
    target, english = accuracy(model, unseen), accuracy(model, unseen, central=True)
    print(f"| {name} | {way} | {said(target)} | {said(english)} |", flush=True)


def _steered(name: str, found: Ground, part: Any, alpha: float) -> None:
    """Every language steered in the last block."""
    right, clusters = [], []
    for lang in sorted({item.lang for item in found.items["unseen"]}):
        items = [item for item in found.items["unseen"] if item.lang == lang]
        steering = xl.lens.Steering(lang, alpha, (found.model.n_layers - 1,), part)
        with xl.lens.steered(found.model, found.space, steering):
            right += [accuracy(found.model, [item]).value for item in items]
        clusters += [item.cluster for item in items]
    estimate = clustered_mean(np.array(right, dtype=float), np.array(clusters))
    print(f"| {name} | steering, {part} {alpha:g} | {said(estimate)} | |", flush=True)


if __name__ == "__main__":
    main()
