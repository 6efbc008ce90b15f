"""``crosslatent tasks ls|show|validate``: tasks, an item as the model sees it, checks of files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crosslatent.cli.counterparts import check_aux
from crosslatent.cli.errors import warn
from crosslatent.cli.options import (
    AuxLangOption,
    ChatArgOption,
    ChatOption,
    DataOption,
    DebugOption,
    JsonOption,
    LangOption,
    ShotsOption,
    chat_arguments,
    names,
    need_command,
)
from crosslatent.cli.output import console, print_json, print_plain, print_text
from crosslatent.cli.questions import Questions, QuestionSettings
from crosslatent.core.errors import TaskError, UsageError
from crosslatent.core.settings import complete
from crosslatent.core.specs import AsChat, chat_of, right_now

if TYPE_CHECKING:
    from crosslatent.cli.validation import Findings
    from crosslatent.cli.views import PromptView
    from crosslatent.model import Model
    from crosslatent.tasks import Item, Task

app = typer.Typer(
    help="The tasks known, and their items.", invoke_without_command=True, callback=need_command
)

TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK", help="Name, or a YAML, JSON Lines or JSON file.")
]
ModelForTokens = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="Model whose tokenizer counts.")
]
AutoOption = Annotated[
    str | None,
    typer.Option("--aux", metavar="auto", help="Allow questions whose counterpart is missing."),
]
_SHOWN_LANGUAGES = 4


@app.command("ls")
def list_all(json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the tasks that come with the package."""
    from rich.table import Table

    from crosslatent.tasks import list_tasks

    summaries = list_tasks()
    if json:
        print_json([summary.to_dict() for summary in summaries])
        return
    table = Table(box=None)
    for title in ("task", "what it asks", "items", "languages", "judged by"):
        table.add_column(title, no_wrap=title in ("task", "judged by"))
    for task in summaries:
        items = "" if task.items is None else str(task.items)
        # A culture task asks in English; what it is about is the language of the counterpart.
        about = task.aux_languages if task.direction == "x->en" else task.languages
        table.add_row(task.name, task.title, items, _some(about), task.rule)
    console().print(table)
    print_text("Tasks without a number take their data from the hub, or from a folder (--data).")


def _some(languages: tuple[str, ...]) -> str:
    more = len(languages) - _SHOWN_LANGUAGES
    shown = ", ".join(languages[:_SHOWN_LANGUAGES])
    return f"{shown} and {more} more" if more > 1 else ", ".join(languages)


@app.command()
def show(
    task: TaskArgument,
    item: Annotated[
        str | None, typer.Option(metavar="ID", help="Which item; the first by default.")
    ] = None,
    lang: LangOption = None,
    aux_lang: AuxLangOption = None,
    data: DataOption = None,
    aux: AutoOption = None,
    shots: ShotsOption = 0,
    model: ModelForTokens = None,
    chat: ChatOption = False,
    chat_arg: ChatArgOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show a task, and one item with both prompts exactly as the model sees them.

    With a model, its tokens too, the last prompt token marked: the one that a transplant touches.
    """
    from crosslatent.cli.views import view_prompts
    from crosslatent.tasks import summarize

    as_chat = _as_chat(chat, chat_arg, model)
    loaded = _load(task, data, lang, aux_lang, shots, aux)
    chosen = _choose(loaded, item)
    tokenizer = _tokenizer_of(model)
    views = view_prompts(chosen, tokenizer, chat=as_chat)
    if tokenizer is not None:
        _warn_of_thoughts(tokenizer, chosen, as_chat, loaded.max_new_tokens)
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
            | {"prompts": [view.to_dict() for view in views]}
        )
    else:
        _print_task(loaded)
        _print_item(chosen, views)


@app.command()
def validate(
    task: TaskArgument,
    lang: LangOption = None,
    aux_lang: AuxLangOption = None,
    data: DataOption = None,
    aux: AutoOption = None,
    shots: ShotsOption = 0,
    model: ModelForTokens = None,
    chat: ChatOption = False,
    chat_arg: ChatArgOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check a task's file, or a file of prompts, and every item in it.

    With a model, also that every prompt fits into its context.
    """
    from crosslatent.cli.validation import examine

    as_chat = _as_chat(chat, chat_arg, model)
    loaded = _load(task, data, lang, aux_lang, shots, aux)
    findings = examine(loaded, _tokenizer_of(model), chat=as_chat)
    if json:
        print_json(findings.to_dict())
    else:
        _print_findings(findings)


def _load(
    task: str,
    data: Path | None,
    lang: str | None,
    aux_lang: str | None,
    shots: int,
    aux: str | None,
) -> Task:
    from crosslatent.tasks.prompts import is_prompts

    prompts = Path(task) if is_prompts(task) else None
    settings = {
        "task": None if prompts else task,
        "prompts": prompts,
        "data": data,
        "lang": names(lang, "--lang"),
        "aux_lang": names(aux_lang, "--aux-lang"),
        "shots": shots,
    }
    asked = Questions(complete(QuestionSettings, settings), auto=check_aux(aux))
    return asked.prepare(asked.load(), None)[0]


def _as_chat(chat: bool, chat_arg: list[str] | None, model: str | None) -> AsChat:
    if chat and model is None:
        raise UsageError("--chat needs a model, whose chat template counts: give --model too.")
    return chat_of(chat, chat_arguments(chat_arg, chat=chat), right_now())


def _warn_of_thoughts(model: Model, item: Item, chat: AsChat, new_tokens: int) -> None:
    from crosslatent.model.chat import thought_note
    from crosslatent.sweeps.tokens import prompts_of

    main = prompts_of(item)[0]
    note = thought_note(model, main, chat=chat, role="main", new_tokens=new_tokens)
    if note is not None:
        warn(note)


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


def _tokenizer_of(model: str | None) -> Any:
    if model is None:
        return None
    from crosslatent.cli.models import load_model

    return load_model(model, None, "cpu", "auto")


def _print_task(task: Task) -> None:
    print_text(f"{task.name}: {task.title}", style="bold")
    if task.description:
        print_text(task.description)
    splits = f", splits {', '.join(task.splits)}" if task.splits else ""
    print_text(
        f"{len(task.items)} items in {', '.join(task.languages)} "
        f"(aux in {', '.join(task.aux_languages)}){splits}; direction {task.direction}; "
        f"judged by the rule {task.rule}, metric {task.metric}; up to {task.max_new_tokens} new "
        "tokens."
    )
    if task.sources:
        print_text(f"Sources: {'; '.join(task.sources)}")


def _print_item(item: Item, views: list[PromptView]) -> None:
    print_text(f"\nitem {item.id}", style="bold")
    for view in views:
        print_text(f"{view.role} ({view.lang}):", style="dim")
        print_plain(view.text or "(none; --aux auto translates main)")
        if view.tokens:
            print_text(view.marked(), style="dim")
    if item.answer is not None:
        aux = f" (in {item.aux_lang}: {', or '.join(item.aux_golds)})" if item.aux_answer else ""
        print_text(f"answer: {', or '.join(item.golds)}{aux}")
    labels = item.labels or item.options or ()
    for name, label in zip(item.options or (), labels, strict=True):
        print_text(f"  {name} {label if label != name else ''}".rstrip())
    groups = {"split": item.split, "fact": item.cluster, **item.strata}
    print_text(
        ", ".join(f"{name}: {value}" for name, value in groups.items() if value), style="dim"
    )


def _print_findings(findings: Findings) -> None:
    from rich.table import Table

    print_text(f"{findings.task}: {findings.items} items, judged by {findings.rule}.")
    table = Table("main", "aux", "split", "items", "facts", "with answer", "majority", box=None)
    for group in findings.groups:
        majority = "" if group.majority is None else f"{group.majority} {group.majority_share:.0%}"
        table.add_row(
            group.lang,
            group.aux_lang,
            group.split or "",
            str(group.items),
            str(group.clusters),
            str(group.with_answer),
            majority,
        )
    console().print(table)
    for note in findings.notes:
        print_text(f"Note: {note}")
