"""``crosslatent tasks ls|show|validate``: tasks, an item as the model sees it, checks of files."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from crosslatent.cli import asked_questions as questions
from crosslatent.cli import command_options as options
from crosslatent.cli.command_class import Command, CommandGroup, completion
from crosslatent.cli.terminal import print_json, print_plain, print_table, print_text
from crosslatent.core.errors import TaskError, UsageError
from crosslatent.core.settings import Panel, Setting, complete
from crosslatent.core.specs import CHAT, CHAT_ARGS, AsChat, chat_of, right_now

if TYPE_CHECKING:
    from crosslatent.cli.validation import Findings
    from crosslatent.model import Model
    from crosslatent.tasks import Item, Task

app = typer.Typer(
    cls=CommandGroup,
    help="The tasks known, and their items.",
    invoke_without_command=True,
    callback=options.need_command,
)

TaskArgument = Annotated[
    str,
    typer.Argument(
        metavar="TASK",
        help="Name, or a YAML, JSON Lines or JSON file.",
        autocompletion=completion(questions.task_names),
    ),
]
OPEN, CLOSE = "\u25b6", "\u25c0"
"""Around the last prompt token."""
_SHOWN_LANGUAGES = 4


class TaskQuestions(questions.LanguageSettings, questions.ShotSettings, total=False):
    """Which questions."""

    aux: Annotated[
        str | None,
        Setting(
            "Allow questions whose counterpart is missing.",
            "auto",
            read=questions.only_auto,
            panel=Panel.COUNTERPARTS,
            rare=True,
        ),
    ]


class TokenizerSettings(TypedDict, total=False):
    """How prompts are read."""

    model: Annotated[
        str | None, Setting("Model whose tokenizer counts.", "MODEL", panel=Panel.MODEL)
    ]
    chat: Annotated[bool, CHAT]
    chat_args: Annotated[Mapping[str, Any] | None, CHAT_ARGS]


@app.command("ls", cls=Command)
@options.command
def list_all(json: options.JsonOption) -> None:
    """List the tasks that come with the package."""
    from crosslatent.tasks import list_tasks

    summaries = list_tasks()
    if json:
        print_json([summary.to_dict() for summary in summaries])
        return
    rows = []
    for task in summaries:
        items = "" if task.items is None else str(task.items)
        # A culture task asks in English; what it is about is the language of the counterpart.
        about = task.aux_languages if task.direction == "x->en" else task.languages
        rows.append((task.name, task.title, items, _some(about), task.rule or ""))
    head = ("task", "what it asks", "items", "languages", "judged by")
    print_table(head, rows, whole=("task", "judged by"))
    print_text("Tasks without a number take their data from the hub, or from a folder (--data).")


def _some(languages: tuple[str, ...]) -> str:
    more = len(languages) - _SHOWN_LANGUAGES
    shown = ", ".join(languages[:_SHOWN_LANGUAGES])
    return f"{shown} and {more} more" if more > 1 else ", ".join(languages)


@app.command(cls=Command)
@options.command
def show(
    task: TaskArgument,
    asked: TaskQuestions,
    tokenizer: TokenizerSettings,
    item: Annotated[
        str | None,
        Setting("Which item; the first by default.", "ID", panel=Panel.QUESTIONS),
    ],
    json: options.JsonOption,
) -> None:
    """Show a task, and one item with both prompts exactly as the model sees them.

    With a model, its tokens too, the last prompt token marked: the one that a transplant touches.
    """
    from crosslatent.tasks import summarize

    chat = _chat_of(tokenizer)
    loaded = _load(task, asked)
    chosen = _choose(loaded, item)
    model = _model_of(tokenizer)
    views = view_prompts(chosen, model, chat=chat)
    if model is not None:
        from crosslatent.answering import prompts_of

        questions.warn_of_thought(model, prompts_of(chosen)[0], chat, loaded.max_new_tokens)
    if json:
        print_json(
            summarize(loaded).to_dict()
            | {
                "description": loaded.description,
                "max_new_tokens": loaded.max_new_tokens,
                "sources": list(loaded.sources),
                "hash": loaded.hash,
                "item": chosen.to_dict(),
                "prompts": [view.to_dict() for view in views],
            }
        )
    else:
        _print_task(loaded)
        _print_item(chosen, views)


@app.command(cls=Command)
@options.command
def validate(
    task: TaskArgument,
    asked: TaskQuestions,
    tokenizer: TokenizerSettings,
    json: options.JsonOption,
) -> None:
    """Check a task's file, or a file of prompts, and every item in it.

    With a model, also that every prompt fits into its context.
    """
    from crosslatent.cli.validation import examine

    chat = _chat_of(tokenizer)
    findings = examine(_load(task, asked), _model_of(tokenizer), chat=chat)
    if json:
        print_json(findings.to_dict())
    else:
        _print_findings(findings)


def _load(task: str, asked: TaskQuestions) -> "Task":
    from crosslatent.tasks.prompt_files import is_prompts

    source = {"prompts": Path(task)} if is_prompts(task) else {"task": task}
    languages = {name: asked[name] for name in ("data", "lang", "aux_lang")}
    asked_questions = complete(questions.PlainQuestionSettings, {**source, **languages})
    loaded = questions.load_questions(asked_questions, auto=asked["aux"] is not None)
    return questions.prepare_questions(loaded, shots=asked["shots"])[0]


def _chat_of(tokenizer: TokenizerSettings) -> AsChat:
    if tokenizer["chat"] and tokenizer["model"] is None:
        raise UsageError("--chat needs a model, whose chat template counts: give --model too.")
    options.check_chat(tokenizer)
    return chat_of(tokenizer["chat"], tokenizer["chat_args"], right_now())


def _choose(task: "Task", item_id: str | None) -> "Item":
    items = task.items
    for item in items:
        if item_id in (None, item.id):
            return item
    raise TaskError(
        f"Task {task.name!r} has no item {item_id!r}: its items run from {items[0].id!r} to "
        f"{items[-1].id!r}."
    )


def _model_of(tokenizer: TokenizerSettings) -> "Model | None":
    name = tokenizer["model"]
    return None if name is None else options.load_model({"model": name, "device": "cpu"})


def _print_task(task: "Task") -> None:
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


def _print_item(item: "Item", views: "list[PromptView]") -> None:
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


def _print_findings(findings: "Findings") -> None:
    print_text(f"{findings.task}: {findings.items} items, judged by {findings.rule}.")
    head = ("main", "aux", "split", "items", "facts", "with answer", "majority")
    rows = []
    for group in findings.groups:
        majority = "" if group.majority is None else f"{group.majority} {group.majority_share:.0%}"
        counts = map(str, (group.items, group.clusters, group.with_answer))
        rows.append((group.lang, group.aux_lang, group.split or "", *counts, majority))
    print_table(head, rows)
    for note in findings.notes:
        print_text(f"Note: {note}")


@dataclass(frozen=True, slots=True)
class PromptView:
    """One prompt of an item.

    Attributes:
        role: main or aux.
        lang: its language.
        text: what the tokenizer is given (with the chat template's marks, if it is a chat).
        tokens: its tokens as texts; empty without a model.
        ids: their ids.
        decoder: what the decoder begins with, as texts, if an encoder reads the prompt.
    """

    role: str
    lang: str
    text: str
    tokens: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    decoder: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; `last` is the token that a transplant touches.

        Of `decoder`, if there is any, else of `tokens`.
        """
        touched = self.decoder or self.tokens
        return asdict(self) | {"last": len(touched) - 1 if touched else None}

    def marked(self) -> str:
        """The tokens, parted by bars, the last one between two arrows; line breaks are spelled."""
        if not self.decoder:
            return f"{len(self.tokens)} tokens: {_marked(self.tokens)}"
        read = "|".join(token.replace("\n", "\\n") for token in self.tokens)
        return f"{len(self.tokens)} tokens: {read}; the decoder begins with {_marked(self.decoder)}"


def _marked(tokens: tuple[str, ...]) -> str:
    *before, last = [token.replace("\n", "\\n") for token in tokens]
    shown = "".join(f"{token}|" for token in before)
    return f"{shown}{OPEN}{last}{CLOSE}"


def view_prompts(item: "Item", model: "Model | None", *, chat: AsChat) -> list[PromptView]:
    """Main and aux of an item.

    Raises:
        ModelError: `chat`, but the tokenizer has no chat template.
    """
    from crosslatent.answering import prompts_of

    asked = zip(("main", "aux"), (item.lang, item.aux_lang), prompts_of(item), strict=True)
    if model is None:
        return [PromptView(role, lang, prompt.plain()) for role, lang, prompt in asked]
    from crosslatent.model.chat import put_as_chat
    from crosslatent.model.prompts import encode_many

    views = []
    for role, lang, prompt in asked:
        text = prompt.plain()
        if chat:
            text = str(put_as_chat(model, prompt, tokenize=False, chat=chat))
        (ids,) = encode_many(model, [prompt], chat=chat)
        decoder = model.decoder_reads(ids) if model.has_encoder else ()
        tokens, starts = (tuple(_text(model, token) for token in row) for row in (ids, decoder))
        views.append(PromptView(role, lang, text, tokens, tuple(ids), starts))
    return views


def _text(model: "Model", token: int) -> str:
    """A token as text; by its id if it is only part of a character."""
    text = model.token_text(token)
    return f"<{token}>" if "\ufffd" in text else text
