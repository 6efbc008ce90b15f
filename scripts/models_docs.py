"""Writes docs/models.json, what came of all contracts on all families, and docs/models.md from it.

    python -m scripts.models_docs           # runs the contracts (minutes), then writes both
    python -m scripts.models_docs --render  # writes docs/models.md from docs/models.json

Results stand by the version of transformers that they were found with. Those of the lowest
supported version stay when another one is run; what any other version found is replaced.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from scripts.models_page import Found, numbers, render, series

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "models.json"
TARGET = ROOT / "docs" / "models.md"


def main(arguments: list[str]) -> None:
    """Run the contracts unless told not to, and write what they found."""
    if arguments not in ([], ["--render"]):
        sys.exit("usage: models_docs.py [--render]")
    if not arguments:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        sys.path.insert(0, str(ROOT / "tests"))
        _write(RESULTS, json.dumps(merged(read(), results()), indent=1) + "\n")
    _write(TARGET, render(read()))


def read() -> dict[str, Any]:
    """What was found before, by version of transformers; empty if nothing was."""
    if not RESULTS.exists():
        return {}
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def merged(before: Found, now: Found) -> dict[str, Any]:
    """What was found now, beside what the lowest version found, or the newest if this is it."""
    lowest = lowest_transformers()
    same, is_lowest = set(map(series, now)), lowest in map(series, now)
    kept = {
        version: found
        for version, found in before.items()
        if series(version) not in same and (is_lowest or series(version) == lowest)
    }
    return dict(sorted({**kept, **now}.items(), key=lambda item: numbers(item[0])))


def lowest_transformers() -> str:
    """The lowest supported version, such as "5.3"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = (re.fullmatch(r"transformers>=([\d.]+)", each) for each in project["dependencies"])
    return next(bound[1] for bound in bounds if bound)


def results() -> dict[str, Any]:
    """Run all contracts on all families of the tests that this version of transformers has."""
    import torch
    import transformers

    from support.families import REFUSED
    from support.models import ALL_FAMILIES, has_type
    from support.two_stacks import TWO_STACKS

    return {
        transformers.__version__: {
            "torch": torch.__version__.partition("+")[0],
            "families": {
                name: outcome(name) for name in (*ALL_FAMILIES, *TWO_STACKS) if has_type(name)
            },
            "refused": {name: refusal(name) for name in REFUSED if has_type(name)},
        }
    }


def outcome(family: str) -> dict[str, Any]:
    """The path that a family takes, and what came of each contract."""
    from crosslatent import contracts
    from crosslatent.engine import best_path
    from support.rows import wrapped
    from support.two_stacks import TWO_STACKS, wrapped_stacks

    model = wrapped_stacks(family) if family in TWO_STACKS else wrapped(family)
    outcomes = list(contracts.run_all(contracts.Subject.of(model)))
    path = best_path(model)
    counted = {one.contract: one.status for one in outcomes}
    print(f"{family:<24}{path.name:<16}{' '.join(sorted(set(counted.values())))}", flush=True)
    return {
        "path": path.name,
        "reason": path.reason,
        "contracts": counted,
        "reasons": {one.contract: one.reason for one in outcomes if one.reason},
    }


def refusal(family: str) -> str:
    """The sentence with which a model is refused."""
    from crosslatent import wrap
    from crosslatent.core.errors import ModelError
    from support.families import REFUSED
    from support.models import tiny_model

    try:
        wrap(*tiny_model(family, **REFUSED[family]))
    except ModelError as error:
        return str(error)
    sys.exit(f"{family} is not refused any more: take it out of REFUSED in tests/support.")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
