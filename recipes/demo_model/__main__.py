"""Command line of the recipe: `python -m recipes.demo_model build` makes what ships."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch

from crosslatent.tasks import load_task
from recipes.demo_model import evaluate, study, table, tasks
from recipes.demo_model.train import Recipe, train

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "src" / "crosslatent" / "data" / "demo"
SHIPPED_SEED = 4
MODEL_FILES = (
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)


def _trained(args: argparse.Namespace) -> Path:
    return Path(args.work) / f"seed-{args.seed}"


def run_train(args: argparse.Namespace) -> None:
    """Train one seed into the work folder (resumes after an interruption)."""
    train(Recipe(seed=args.seed), _trained(args))


def run_tasks(args: argparse.Namespace) -> None:
    """Write the task files."""
    for task in tasks.all_tasks():
        tasks.write(task, Path(args.out) / "tasks")


def run_evaluate(args: argparse.Namespace) -> None:
    """Knowledge and transplant study on pilot and unseen, into evaluation.json."""
    folder = _trained(args)
    model, tokenizer = evaluate.load(folder)
    found: dict[str, Any] = {"knowledge": evaluate.knowledge(model, tokenizer)}
    for name in (task.header["name"] for task in tasks.all_tasks()):
        task = load_task(str(Path(args.out) / "tasks" / f"{name}.yaml"))
        found[name] = study.transplant_study(folder, task, folder / "runs")
    text = json.dumps(found, indent=1, ensure_ascii=False)
    (folder / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def run_table(args: argparse.Namespace) -> None:
    """Print the tables of README.md, from all evaluations in the work folder."""
    print(table.tables(sorted(Path(args.work).glob("seed-*/evaluation.json"))))


def run_ship(args: argparse.Namespace) -> None:
    """Copy the trained folder's files to where the package looks for them."""
    folder = Path(args.out) / "model"
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODEL_FILES:
        shutil.copyfile(_trained(args) / name, folder / name)


def run_build(args: argparse.Namespace) -> None:
    """Train, write the tasks, ship."""
    for step in (run_train, run_tasks, run_ship):
        step(args)


COMMANDS = {
    "build": run_build,
    "train": run_train,
    "tasks": run_tasks,
    "evaluate": run_evaluate,
    "table": run_table,
    "ship": run_ship,
}


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m recipes.demo_model", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--seed", type=int, default=SHIPPED_SEED)
    parser.add_argument("--work", default=str(ROOT / "build" / "demo-model"))
    parser.add_argument("--out", default=str(SHIPPED))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    COMMANDS[args.command](args)


if __name__ == "__main__":
    main()
