"""Write the variants in docs/planted.md and their pictures: `python -m scripts.planted_docs`."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path

from PIL import Image

from crosslatent.planted.logic import Logic
from crosslatent.planted.planted_demo import ENTITIES, draw
from crosslatent.planted.planting import VARIANTS, PlantedVariant, PlantingSettings, plant
from crosslatent.planted.prediction import TRUE, MapAgreement, agreements, compared, predict
from crosslatent.planted.weights import build

DOCS = Path(__file__).parents[1] / "docs"
TARGET, PICTURES = DOCS / "planted.md", DOCS / "planted"

BEGIN, END = "<!-- begin of what `make docs-planted` writes -->", "<!-- end -->"


def body(name: str, variant: PlantedVariant) -> str:
    """The section of a variant, without its figures."""
    text = inspect.cleandoc(variant.__doc__ or "")
    title, _, rest = text.partition("\n\n")
    return f"### {name}\n\n{title}\n\n{rest}\n" if rest else f"### {name}\n\n{title}\n"


def _measured(name: str) -> list[MapAgreement]:
    """What a sweep over the pilot questions finds, and a picture of it."""
    from crosslatent.model import load
    from crosslatent.sweeps import SweepSpec, run_sweep

    planted = plant(name, PlantingSettings(entities=ENTITIES))
    task = planted.task.select(splits=["pilot", "unseen"])
    prediction = predict(Logic(planted.circuit), task.items)
    with tempfile.TemporaryDirectory() as folder:
        build(planted.circuit, Path(folder) / "model")
        model = load(f"{folder}/model", device="cpu", dtype="float32")
        spec = SweepSpec(component=("attn", "ffn", "block"), pairs="all", controls=(), seed=0)
        run_sweep(model, task, spec, Path(folder) / "run")
        found = [
            one for one in agreements(compared(f"{folder}/run", prediction)) if one.control == TRUE
        ]
        picture = draw(found, Path(folder) / name)
        PICTURES.mkdir(exist_ok=True)
        with Image.open(picture) as drawn:
            small = drawn.convert("RGB").resize([round(0.7 * side) for side in drawn.size])
            small.quantize(48).save(PICTURES / f"{name}.png", optimize=True)
    return found


def _figures(name: str, found: list[MapAgreement]) -> str:
    said = "; ".join(
        f"{one.component} {100 * one.same_verdict:.2f} %, {100 * one.largest:.1f} points"
        for one in found
    )
    return (
        f"![Planted beside measured](planted/{name}.png)\n\n"
        "Right or wrong as predicted, and the largest difference of a cell "
        f"({found[0].rows:,} answers each): {said}.\n"
    )


def main() -> None:
    """Write the sections between the marks, and the pictures."""
    order = ["plain", *sorted(name for name in VARIANTS.own if name != "plain")]
    sections = [
        f"{body(name, VARIANTS[name])}\n{_figures(name, _measured(name))}" for name in order
    ]
    before, _, rest = TARGET.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    TARGET.write_text(
        f"{before}{BEGIN}\n\n{chr(10).join(sections)}\n{END}{after}", encoding="utf-8"
    )
    print(TARGET)


if __name__ == "__main__":
    main()
