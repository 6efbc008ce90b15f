"""``crosslatent tasks ls|show``: the tasks known, and one item as the model sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from crosslatent.cli.options import DebugOption, JsonOption, need_command
from crosslatent.cli.output import console, print_json, print_text
from crosslatent.errors import TaskError

if TYPE_CHECKING:
    from crosslatent.tasks import Item, Task

app = typer.Typer(
    help="The tasks known, and their items.", invoke_without_command=True, callback=need_command
)


@app.command("ls")
def list_all(json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the tasks that come with the package."""
    from rich.table import Table

    from crosslatent.tasks import list_tasks

    summaries = list_tasks()
    if json:
        print_json([summary.to_dict() for summary in summaries])
        return
    table = Table("task", "what it asks", "items", "main in", "aux in", "judged by", box=None)
    for task in summaries:
        main, aux = ", ".join(task.languages), ", ".join(task.aux_languages)
        table.add_row(task.name, task.title, str(task.items), main, aux, task.rule)
    console().print(table)


@app.command()
def show(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name, or path of a YAML file.")],
    item: Annotated[
        str | None, typer.Option(metavar="ID", help="Which item; the first by default.")
    ] = None,
    lang: Annotated[
        str | None, typer.Option(metavar="LANG", help="The first item with this language of main.")
    ] = None,
    aux_lang: Annotated[
        str | None, typer.Option(metavar="LANG", help="The first item with this language of aux.")
    ] = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show a task, and one item with both prompts exactly as the model sees them."""
    from crosslatent.tasks import load_task, summarize

    loaded = load_task(task)
    chosen = _choose(_within(loaded, lang, aux_lang), item)
    if json:
        print_json(
            summarize(loaded).to_dict()
            | {
                "description": loaded.description,
                "max_new_tokens": loaded.max_new_tokens,
                "sources": list(loaded.sources),
                "hash": loaded.hash,
                "item": chosen.to_dict(),
            }
        )
    else:
        _print_task(loaded)
        _print_item(chosen)


def _within(task: Task, lang: str | None, aux_lang: str | None) -> Task:
    return task.select(
        None if lang is None else [lang], aux_languages=None if aux_lang is None else [aux_lang]
    )


def _choose(task: Task, item_id: str | None) -> Item:
    items = task.items
    if item_id is None:
        return items[0]
    for item in items:
        if item.id == item_id:
            return item
    raise TaskError(
        f"Task {task.name!r} has no item {item_id!r}: its items run from {items[0].id!r} to "
        f"{items[-1].id!r}."
    )


def _print_task(task: Task) -> None:
    print_text(f"{task.name}: {task.title}", style="bold")
    if task.description:
        print_text(task.description)
    splits = f", splits {', '.join(task.splits)}" if task.splits else ""
    print_text(
        f"{len(task.items)} items in {', '.join(task.languages)} "
        f"(aux in {', '.join(task.aux_languages)}){splits}; direction {task.direction}; "
        f"judged by the rule {task.rule}; up to {task.max_new_tokens} new tokens."
    )
    if task.sources:
        print_text(f"Sources: {'; '.join(task.sources)}")


def _print_item(item: Item) -> None:
    print_text(f"\nitem {item.id}", style="bold")
    for role, lang, text in [("main", item.lang, item.main), ("aux", item.aux_lang, item.aux)]:
        print_text(f"{role} ({lang}):", style="dim")
        print(text)
    if item.answer is not None:
        print_text(f"answer: {item.answer}")
    labels = item.labels or item.options or ()
    for name, label in zip(item.options or (), labels, strict=True):
        print_text(f"  {name} {label if label != name else ''}".rstrip())
    groups = {"split": item.split, "fact": item.cluster, **item.strata}
    print_text(
        ", ".join(f"{name}: {value}" for name, value in groups.items() if value), style="dim"
    )
