"""``crosslatent check``: what must hold on every model, run on the user's own."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosslatent.cli.errors import say
from crosslatent.cli.models import load_model
from crosslatent.cli.options import (
    DebugOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModulesOption,
    RevisionOption,
    names,
)
from crosslatent.cli.output import console, print_json, print_text
from crosslatent.cli.progress import duration
from crosslatent.core.errors import ContractError
from crosslatent.core.specs import check_component

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


def check(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Model folder, or name on the hub.")
    ],
    modules: ModulesOption = None,
    components: Annotated[
        str | None,
        typer.Option(
            metavar="C,C",
            help="attn, ffn, attn_residual, block, cross_attn; all that there are by default.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Three blocks and two new tokens, for large models.")
    ] = False,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find the modules of a model, and check that transplants in it can be relied on."""
    kinds = [check_component(name) for name in names(components, "--components")]
    loaded = load_model(model, revision, device, dtype, modules)

    from crosslatent import contracts

    subject = contracts.subject_of(loaded, components=kinds, quick=quick)
    found, cost = contracts.found(loaded), contracts.cost(subject)
    if not json:
        _print_found(found)
    say(_announced(subject, cost, quick))
    outcomes = []
    for name in contracts.CONTRACTS:
        outcomes.append(contracts.run(name, subject))
        say(f"{name}: {outcomes[-1].status} ({duration(outcomes[-1].seconds)})")
    if json:
        print_json(_plain(found, subject, cost, outcomes))
    else:
        _print_outcomes(outcomes)
    _refuse(model, outcomes)


def _announced(subject: Subject, cost: CheckCost, quick: bool) -> str:
    blocks = f"{len(subject.layers)} of {subject.model.n_layers} blocks"
    texts = "texts" if subject.from_text else "token ids, since the tokenizer reads all texts alike"
    shorter = "" if quick else "; --quick takes fewer"
    return (
        f"Checking {blocks}, on {texts}: up to {cost.forwards:,} forwards of up to {cost.tokens} "
        f"tokens at {cost.seconds:.2g} s, {duration(cost.total)} at most{shorter}."
    )


def _print_found(found: ModelReport) -> None:
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
        print_text(f"{label:<16}{text}")


def _print_outcomes(outcomes: list[Outcome]) -> None:
    from rich.table import Table

    table = Table(box=None)
    for head in ("contract", "result", "what was counted, or why not", "seconds"):
        table.add_column(head, justify="right" if head == "seconds" else "left")
    for one in outcomes:
        table.add_row(one.contract, one.status, one.reason or counted(one), f"{one.seconds:.1f}")
    console().print(table)


def counted(outcome: Outcome) -> str:
    """What a contract counted, for people."""
    facts = {name: outcome.facts[name] for name in _FACTS if name in outcome.facts}
    return ", ".join(
        _FACTS.get(name, f"{name} {{}}").format(value)
        for name, value in (facts | dict(outcome.facts)).items()
    )


def _plain(
    found: ModelReport, subject: Subject, cost: CheckCost, outcomes: list[Outcome]
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


def _refuse(model: str, outcomes: list[Outcome]) -> None:
    failed = [one for one in outcomes if one.status == "failed"]
    if failed:
        listed = ", ".join(one.contract for one in failed)
        raise ContractError(
            f"{len(failed)} of {len(outcomes)} contracts do not hold on {model!r} ({listed}; "
            f"{failed[0].contract}: {failed[0].reason}): rely on no transplant in this model "
            "before they do."
        )
