"""``crosslatent demo`` and ``check``: the main job on the shipped model, and what holds on any."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from crosslatent.cli import command_options as options
from crosslatent.cli import terminal
from crosslatent.cli.demo_words import first_words, introduction, summary_lines
from crosslatent.core.costs import duration
from crosslatent.core.errors import ContractError, UsageError
from crosslatent.core.imports import need
from crosslatent.core.settings import Panel, Setting, path, real, several, switch
from crosslatent.core.specs import COMPONENTS, check_component

if TYPE_CHECKING:
    from crosslatent.contracts import Outcome, Subject
    from crosslatent.contracts.facts import CheckCost, ModelReport

_PARTS = {
    "blocks": "blocks",
    "attn": "attention",
    "ffn": "feed-forward",
    "cross_attn": "cross-attention",
}
_FACTS = {
    "path": "{}",
    "rows": "{} rows",
    "distinct": "{} different answers",
    "differing": "{} differ from the unmodified answer",
    "near_ties": "{} near-ties",
    "prompts": "{} prompts",
    "acts": "{} uses",
    "components": "{} components",
    "ms": "{} ms a row",
    "ms_alone": "{} ms as single rows",
}
"""How what was counted is said."""


class CheckSettings(TypedDict, total=False):
    """What is checked."""

    components: Annotated[
        tuple[str, ...],
        several(
            "attn, ffn, attn_residual, block, cross_attn; all that there are by default.",
            "C,C",
            panel=Panel.CARRIED,
            known=COMPONENTS,
        ),
    ]
    quick: Annotated[
        bool,
        switch("Three blocks and two new tokens, for large models.", panel=Panel.CARRIED),
    ]


@options.command
def check(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=options.MODEL_HELP)],
    loading: options.ModuleSettings,
    checked: CheckSettings,
    json: options.JsonOption,
) -> None:
    """Find the modules of a model, and check that transplants in it can be relied on."""
    kinds = [check_component(name) for name in checked["components"]]
    loaded = options.load_model({"model": model, **loading})

    from crosslatent import contracts

    subject = contracts.subject_of(loaded, components=kinds, quick=checked["quick"])
    found, cost = contracts.found(loaded), contracts.cost(subject)
    if not json:
        _print_found(found)
    terminal.say(_announced(subject, cost, checked["quick"]))
    outcomes = []
    for name in contracts.CONTRACTS:
        outcomes.append(contracts.run(name, subject))
        terminal.say(f"{name}: {outcomes[-1].status} ({duration(outcomes[-1].seconds)})")
    if json:
        terminal.print_json(_plain(found, subject, cost, outcomes))
    else:
        _print_outcomes(outcomes)
    _refuse(model, outcomes)


def _announced(subject: "Subject", cost: "CheckCost", quick: bool) -> str:
    blocks = f"{len(subject.layers)} of {subject.model.n_layers} blocks"
    texts = "texts" if subject.from_text else "token ids, since the tokenizer reads all texts alike"
    shorter = "" if quick else "; --quick takes fewer"
    return (
        f"Checking {blocks}, on {texts}: up to {cost.forwards:,} forwards of up to {cost.tokens} "
        f"tokens at {cost.seconds:.2g} s, {duration(cost.total)} at most{shorter}."
    )


def _print_found(found: "ModelReport") -> None:
    how_many = f"{found.blocks} of width {found.d_model} at "
    lines = [
        ("model", f"{found.model} ({found.architecture}, model type {found.model_type})"),
        ("with", f"transformers {found.transformers}, {found.dtype} on {', '.join(found.devices)}"),
    ]
    for part, place in found.places.items():
        paths = ", ".join(path or "the model itself" for path in place.paths)
        lines.append((_PARTS[part], f"{how_many if part == 'blocks' else ''}{paths} ({place.how})"))
    for part, norms in found.norms.items():
        lines.append(("norm", f"{', '.join(norms)} after {_PARTS[part]}, left out of its vectors"))
    lines.append(("path", f"{found.path} ({found.reason or 'the fastest'})"))
    differs = f", which {found.tokenizer_differs}" if found.tokenizer_differs else ""
    lines.append(("tokenizer", f"{found.tokenizer}{differs}"))
    for label, text in lines:
        terminal.print_text(f"{label:<16}{text}")


def _print_outcomes(outcomes: "list[Outcome]") -> None:
    head = ("contract", "result", "what was counted, or why not", "seconds")
    rows = [
        (one.contract, one.status, one.reason or counted(one), f"{one.seconds:.1f}")
        for one in outcomes
    ]
    terminal.print_table(head, rows, right=("seconds",))


def counted(outcome: "Outcome") -> str:
    """What a contract counted, for people."""
    facts = {name: outcome.facts[name] for name in _FACTS if name in outcome.facts}
    return ", ".join(
        _FACTS.get(name, f"{name} {{}}").format(value)
        for name, value in (facts | dict(outcome.facts)).items()
    )


def _plain(
    found: "ModelReport", subject: "Subject", cost: "CheckCost", outcomes: "list[Outcome]"
) -> dict[str, Any]:
    return {
        "found": asdict(found),
        "layers": subject.layers,
        "new_tokens": subject.new_tokens,
        "prompts_from_text": subject.from_text,
        "cost": asdict(cost),
        "contracts": [asdict(one) for one in outcomes],
        "ok": all(one.status != "failed" for one in outcomes),
    }


def _refuse(model: str, outcomes: "list[Outcome]") -> None:
    failed = [one for one in outcomes if one.status == "failed"]
    if failed:
        listed = ", ".join(one.contract for one in failed)
        raise ContractError(
            f"{len(failed)} of {len(outcomes)} contracts do not hold on {model!r} ({listed}; "
            f"{failed[0].contract}: {failed[0].reason}): rely on no transplant in this model "
            "before they do."
        )


@options.command
def demo(
    out: Annotated[
        Path | None,
        path(
            "Folder for runs and report: demo-output, or planted-output with --planted.",
            "DIR",
            panel=Panel.OUTPUT,
        ),
    ],
    planted: Annotated[
        bool, switch("A model whose right answers are known, instead.", panel=Panel.MODEL)
    ],
    variant: Annotated[
        str | None,
        Setting(
            "What is planted, see docs/planted.md; plain by default.", "NAME", panel=Panel.MODEL
        ),
    ],
    noise: Annotated[
        float | None,
        Setting(
            "Noise in every module of the planted model, such as 0.2.",
            "LENGTH",
            read=real,
            panel=Panel.MODEL,
        ),
    ],
    json: options.JsonOption,
) -> None:
    """Sweep the shipped model on its tasks; report what transplants repair, and what luck does."""
    need("report")
    options.quiet()
    if planted:
        where = out or Path("planted-output")
        planted_demo(where, variant or "plain", noise or 0.0, as_json=json)
        return
    if (variant, noise) != (None, None):
        raise UsageError("--variant and --noise are of planted models: add --planted.")
    from crosslatent.demo import MARKER, demo_workers, first_look, run_demo
    from crosslatent.model import shipped_model

    out = out or Path("demo-output")
    terminal.check_output_folder(out, MARKER)
    for line in introduction():
        terminal.say(line)
    with terminal.stoppable(), demo_workers() as pool:
        model = None
        if not (out / MARKER).exists():
            model = shipped_model()
            terminal.say(first_words(first_look(model)))
        with terminal.progresses() as show:
            outcome = run_demo(out, model=model, pool=pool, progress=show)
    if outcome.rows:
        terminal.say(f"{outcome.rows:,} answers in {duration(outcome.seconds)}.")
    summary = json_format.loads(outcome.report.summary.read_text(encoding="utf-8"))
    if json:
        files = terminal.plain_paths(outcome.report)
        made = {"out": str(out), "rows": outcome.rows, "runs": [str(run) for run in outcome.runs]}
        terminal.print_json({**made, "summary": summary, "files": files})
        return
    for line in summary_lines(summary):
        print(line)
    print()
    terminal.print_paths(outcome.report)


def planted_demo(out: Path, variant: str, noise: float, *, as_json: bool = False) -> None:
    """Plant, predict, sweep and compare."""
    from crosslatent.planted.planted_demo import MARKER, run_planted
    from crosslatent.planted.planting import VARIANTS

    terminal.check_output_folder(out, MARKER)
    terminal.say(
        f"Planted model, {variant}: {VARIANTS[variant].title}. Its weights are written down, not "
        "trained, so every answer is known beforehand; the prediction is written before the sweep."
    )
    with terminal.stoppable(), terminal.progresses() as show:
        outcome = run_planted(variant, out, noise=noise, progress=show)
    path, digest = outcome.prediction
    if as_json:
        found = {
            "out": str(out),
            "rows": outcome.rows,
            "agreements": [asdict(one) for one in outcome.agreements],
            "prediction": {"file": str(path), "sha256": digest},
            "picture": str(outcome.picture),
            "files": terminal.plain_paths(outcome.report),
        }
        terminal.print_json(found)
        return
    print("Answers under every pair of layers, and what was predicted of them")
    head = ("component", "vectors", "answers", "right or wrong as predicted", "largest difference")
    rows = [
        (
            one.component,
            "true" if one.control == "none" else one.control,
            f"{one.rows:,}",
            f"{100 * one.same_verdict:.1f} %",
            f"{100 * one.largest:.1f} points",
        )
        for one in outcome.agreements
    ]
    terminal.print_table(head, rows, right=head[2:])
    print(f"The largest difference is that of a pair's share of right answers. Prediction: {path}")
    print(f"(SHA-256 {digest}). Planted beside measured: {outcome.picture}")
    terminal.print_paths(outcome.report)
