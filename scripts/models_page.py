"""docs/models.md from docs/models.json: a table of all families, and of what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from scripts.released_models import RELEASED

Found = Mapping[str, Any]
"""Results of the contracts by version of transformers, from `models_docs`."""

_MEANINGS = {
    "self-transplant": "transplanting a prompt into itself changes nothing",
    "fast-equals-oracle": "the path gives the same results as single rows",
    "padding": "left-padded, right-padded and unpadded prompts agree",
    "batch-size": "batches of one and of many rows agree",
    "hooks-removed": "no hook stays in the model, also after an error",
    "generate": "`model.generate` under `patched` equals our own decoding",
    "independent-capture": "a capture does not depend on what ran before",
}

TEXT = """# Models

<!-- Written by `make models` from what the contracts found (docs/models.json). -->

{summary}

Each row was tested on a tiny model of that type, with random weights and 4 blocks, built from its
config. It shows that crosslatent handles the model's code, and says nothing about released weights.
The column of released models lists examples of the type; none of them was loaded. Model types
that are not listed may work too: crosslatent locates and verifies modules instead of looking them
up in a list.

To run the same contracts on your own model:

```sh
crosslatent check MODEL            # or --quick, for large models; --json for programs
```

or, in Python, `xl.check(model)`. The check reports which modules it found, which path rows take,
an upper bound on the cost of running the contracts, and their results. The exit code is 1 if a
contract failed.

The contracts:

{contracts}

The paths, fastest first: `shared-prefix` (the prompt is read once for all its rows),
`expanded-cache` (the prompt's cache is copied for every row), `oracle` (every row is computed
alone). All paths give the same answers.

| model type | released models | transformers | contracts | path | why not faster, or why skipped |
| --- | --- | --- | --- | --- | --- |
{rows}

## Refused

Loading a model of these types raises an error.

| model type | released models | why |
| --- | --- | --- |
{refused}
"""


def series(version: str) -> str:
    """Major and minor version."""
    return ".".join(version.split(".")[:2])


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers, for sorting."""
    return tuple(map(int, re.findall(r"\d+", version)))


def render(found: Found) -> str:
    """The content of docs/models.md."""
    newest = list(found)[-1]
    new_to_old = list(found.values())[::-1]
    families = dict.fromkeys(name for each in new_to_old for name in each["families"])
    refused = {name: text for each in found.values() for name, text in each["refused"].items()}
    names = dict.fromkeys(
        contract for one in found[newest]["families"].values() for contract in one["contracts"]
    )
    return TEXT.format(
        summary=_summary(found, newest),
        contracts="\n".join(f"- `{name}`: {_MEANINGS.get(name, name)}" for name in names),
        rows="\n".join(_row(name, found) for name in families),
        refused="\n".join(
            _line([f"`{name}`", RELEASED.get(name, ""), text]) for name, text in refused.items()
        ),
    )


def _summary(found: Found, newest: str) -> str:
    families = found[newest]["families"]
    paths: dict[str, set[str]] = {}
    for name in _whole(families):
        paths.setdefault(families[name]["path"], set()).add(_type(name))
    # A model type counts once, with the slowest path that a variant of it takes.
    counted: set[str] = set()
    shares: list[str] = []
    for path in ("oracle", "expanded-cache", "shared-prefix"):
        types = paths.get(path, set()) - counted
        counted |= types
        shares[:0] = [f"{len(types)} of them on the path `{path}`"] if types else []
    lines = [f"With transformers {newest}, {_how_many(families)}, {' and '.join(shares)}."]
    lines += [
        f"With transformers {version}, {_how_many(each['families'])}."
        for version, each in found.items()
        if version != newest
    ]
    return "\n".join(lines)


def _how_many(families: Mapping[str, Any]) -> str:
    broken = {_type(name) for name in set(families).difference(_whole(families))}
    types = {_type(name) for name in families}
    most = max(len(one["contracts"]) for one in families.values())
    return f"{len(types - broken)} of {len(types)} model types keep all {most} contracts"


def _whole(families: Mapping[str, Any]) -> list[str]:
    """Families that passed everything."""
    return [name for name, one in families.items() if set(one["contracts"].values()) == {"passed"}]


def _row(family: str, found: Found) -> str:
    runs = {
        series(version): each["families"][family]
        for version, each in found.items()
        if family in each["families"]
    }
    newest = list(runs)[-1]
    special = family.partition("-")[2]
    return _line(
        [
            f"`{_type(family)}`" + (f", {special}" if special else ""),
            RELEASED.get(family, ""),
            ", ".join(runs),
            _by_version({version: _kept(one["contracts"]) for version, one in runs.items()}),
            _by_version({version: f"`{one['path']}`" for version, one in runs.items()}),
            "; ".join(_reasons(runs[newest])),
        ]
    )


def _type(family: str) -> str:
    return family.partition("-")[0]


def _by_version(texts: Mapping[str, str]) -> str:
    """A text, and others of lower versions where they differ."""
    newest = list(texts)[-1]
    others = [f"{version}: {text}" for version, text in texts.items() if text != texts[newest]]
    return texts[newest] + (f" ({', '.join(others)})" if others else "")


def _kept(contracts: Mapping[str, str]) -> str:
    """How many contracts passed, and which did not."""
    others = [f"{name} {status}" for name, status in contracts.items() if status != "passed"]
    passed = len(contracts) - len(others)
    return f"{passed} of {len(contracts)}" + (f", {', '.join(others)}" if others else "")


def _reasons(one: Mapping[str, Any]) -> Iterable[str]:
    """Why no faster path is taken, then why contracts were skipped or failed."""
    if one["reason"]:
        yield one["reason"]
    yield from (f"{name}: {reason}" for name, reason in one["reasons"].items())


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
