"""What the golden files were made from: small runs, an evaluation, and the demo.

Weights of the tiny models come from seeds; those of the demo are shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crosslatent import demo
from crosslatent.core.specs import CONTROLS
from crosslatent.core.subspace import fit_means
from crosslatent.lens.evaluation.evaluated_conditions import Combined, Steered, Transplanted, Tuned
from crosslatent.lens.evaluation.evaluating import evaluate
from crosslatent.lens.space import Space, SpaceRecord
from crosslatent.model import shipped_model
from crosslatent.sweeps import SweepSpec, run_sweep
from crosslatent.tasks import Item, Task, task_of
from support.rows import wrapped
from support.two_stacks import wrapped_stacks

DATA = Path(__file__).parent / "data"
PROMPTS = {"sw": "Swali la {} ni lipi? Jibu:", "es": "Cual es la pregunta {}? Respuesta:"}


def _item(lang: str, fact: int, **changes: Any) -> Item:
    fields = {
        "id": f"{lang}{fact}",
        "lang": lang,
        "aux_lang": "en",
        "main": PROMPTS[lang].format(fact),
        "aux": f"What is question {fact}? Answer:",
        "answer": "AB"[fact % 2],
        "options": ("A", "B"),
        "labels": (f"thing {fact}", f"matter {fact}"),
        "cluster": f"fact-{fact}",
        "split": "pilot" if fact % 4 < 2 else "final",
        "strata": {"kind": "odd" if fact % 2 else "even"},
        "paraphrase": PROMPTS[lang].format(f"no. {fact}"),
    }
    return Item(**(fields | changes))


def _choices(facts: int) -> Task:
    return task_of([_item(lang, fact) for fact in range(facts) for lang in PROMPTS])


def _open(facts: int) -> Task:
    """Open questions, whose gold answers are letters that the model says now and then."""
    return task_of(
        [
            _item(lang, fact, options=None, labels=None, answer="iq"[fact % 2], aux_answer="q")
            for fact in range(facts)
            for lang in PROMPTS
        ]
    )


def llama(out: Path) -> None:
    """Options, all pairs, all controls, scored without generating."""
    spec = SweepSpec(component=("attn", "ffn", "block"), controls=CONTROLS, score_only=True, seed=3)
    run_sweep(wrapped("llama"), _choices(6), spec, out)


def gemma(out: Path) -> None:
    """Open answers, norms after modules, attribution and samples."""
    spec = SweepSpec(
        component=("ffn", "attn_residual"),
        controls=("shuffled", "self", "mean"),
        pairs=((0, 0), (1, 2), (3, 0), (2, 3)),
        max_new_tokens=5,
        attribution=True,
        samples=3,
        seed=1,
    )
    run_sweep(wrapped("gemma2"), _open(6), spec, out)


def t5(out: Path) -> None:
    """Two stacks, with cross-attention."""
    spec = SweepSpec(
        component=("attn", "ffn", "cross_attn"),
        controls=("shuffled", "noise", "self"),
        max_new_tokens=4,
        score_options=True,
    )
    run_sweep(wrapped_stacks("t5"), _choices(4), spec, out)


RUNS: Mapping[str, Callable[[Path], None]] = {"llama": llama, "gemma": gemma, "t5": t5}
"""The small runs by name: each writes a run folder."""


def evaluation(out: Path) -> None:
    """A model under conditions of every kind, into a folder of an evaluation."""
    space = _space()
    conditions = [
        Steered("steered", space, 2.0, (1, 2)),
        Transplanted("ffn:1:2", "ffn", 1, 2),
        Transplanted("attn:-1:0", "attn", -1, 0),
        Combined("both", Steered("part", space, 1.0, (0,)), Transplanted("part", "ffn", 0, 3)),
        Tuned("tuned", wrapped("llama", seed=1)),
    ]
    texts = ["The sky is blue.", "Water boils.", "Trees are green, mostly."]
    found = evaluate(
        wrapped("llama"),
        conditions,
        _choices(6),
        central_texts=texts,
        max_new_tokens=4,
        rule="first_token",
        seed=5,
    )
    found.save(out)


def _space() -> Space:
    draw = np.random.default_rng(0)
    languages = ("en", *PROMPTS)
    fits = [
        fit_means({lang: draw.normal(size=32) + 2 for lang in languages}, central="en")
        for _ in range(5)
    ]
    return Space(tuple(fits[:-1]), fits[-1], SpaceRecord(texts=dict.fromkeys(languages, 50)))


DEMO = demo.TASKS
"""The demo's runs by name, as `crosslatent demo` writes them."""


def some_of_the_demo(name: str, out: Path, every: int = 40) -> None:
    """A few questions of a run of the demo, without what depends on the others."""
    task = demo.task_of(name)
    few = replace(task, items=task.items[::every])
    less = {"controls": ("self",), "attribution": False, "samples": 0}
    spec = SweepSpec(**{**demo.spec_of(name), **less})
    run_sweep(shipped_model(), few, spec, out)
