"""Command line of the study: `python -m recipes.lens_study` writes its results beside itself."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from crosslatent.cli.command_options import quiet
from recipes.lens_study.study import Study
from recipes.lens_study.table import markdown, plain

HERE = Path(__file__).parent


def main() -> None:
    """Run the protocol and write ``results.md`` and ``results.json``."""
    parser = argparse.ArgumentParser(prog="python -m recipes.lens_study", description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the results")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    quiet()
    study = Study()
    chosen = list(study.chosen())
    found = study.report(chosen)
    args.out.mkdir(parents=True, exist_ok=True)
    text = markdown(chosen, found)
    (args.out / "results.md").write_text(text + "\n", encoding="utf-8")
    data = json.dumps(
        plain(chosen, found, study.losses), indent=1, ensure_ascii=False, allow_nan=False
    )
    (args.out / "results.json").write_text(data + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
