"""The counterpart of every request: the same document in another task of the harness.

The harness tells a model neither its tasks nor how they build contexts. So the main task is loaded
and built here once more, beside the counterpart task; only if its contexts are those of the
requests, to the letter, were both built as the harness builds them.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.tasks import TaskManager

from crosslatent.core.errors import TaskError
from crosslatent.harness.command import Building

_log = logging.getLogger(__name__)

Contexts = Mapping[int, Mapping[int, str]]
"""Document -> index of the request -> its context. Requests without context are left out."""


@dataclass(slots=True)
class AuxTasks:
    """Finds counterparts.

    Attributes:
        aux: name of the counterpart task, or the language code that its name ends in.
        building: how the harness builds contexts.
        chat_template: makes a prompt of a chat.
        tokenizer_name: which tokenizer's template that is.
    """

    aux: str
    building: Building
    chat_template: Callable[..., str]
    tokenizer_name: str
    _own: TaskManager | None = field(default=None, init=False)

    def contexts(self, requests: Sequence[Instance]) -> list[str | None]:
        """The context of each request's counterpart; None for requests without a context.

        Raises:
            TaskError: a task is not found, a document has no counterpart, or the contexts of the
                requests are not those that their task gives.
        """
        by_task: dict[str, list[Instance]] = defaultdict(list)
        for request in requests:
            by_task[_task_name(request)].append(request)
        tables = {name: self._table(name, group) for name, group in by_task.items()}
        return [_context(tables[_task_name(request)], request) for request in requests]

    def _table(self, name: str, requests: Sequence[Instance]) -> Contexts:
        """Contexts of the counterpart task, by the documents of one main task."""
        main, aux = self._load(name), self._load(self._aux_name(name))
        docs = {request.doc_id: request.doc for request in requests}
        chosen = _places(name, list(main.eval_docs), docs)
        _check_size(name, aux, len(main.eval_docs), chosen)
        self._check(name, self._build(main, chosen), requests)
        return self._build(aux, chosen)

    def _aux_name(self, name: str) -> str:
        """The counterpart of a task: the one named, or of the same name but for the language."""
        parts, length = name.split("_"), self.aux.count("_") + 1
        swapped = "_".join([*parts[:-length], self.aux]) if len(parts) > length else self.aux
        for manager in self._sources():
            for candidate in (self.aux, swapped):
                if candidate in manager.all_subtasks:
                    return candidate
        raise TaskError(
            f"The task {name!r} has no counterpart: with aux={self.aux}, neither {self.aux!r} nor "
            f"{swapped!r} is a task; give the name of one, and aux_path=FOLDER if its YAML is not "
            "the harness's own."
        )

    def _load(self, name: str) -> Task:
        for manager in self._sources():
            if name in manager.all_subtasks:
                task: Task = manager.load([name])["tasks"][name]
                self._prepare(task)
                return task
        raise TaskError(
            f"The task {name!r} cannot be found by its name: give the folder of its YAML as "
            "include_path=FOLDER."
        )

    def _sources(self) -> Iterator[TaskManager]:
        """The user's own tasks, which go first, and those of the harness."""
        if self._own is None:
            self._own = TaskManager(
                include_path=list(self.building.folders), include_defaults=False
            )
        yield self._own
        yield _harness_tasks()

    def _prepare(self, task: Task) -> None:
        """What `lm_eval.simple_evaluate` does to a task before it is built."""
        shots, own = self.building.num_fewshot, task.get_config("num_fewshot")
        if own != 0 and (shots is not None or own is None):
            task.set_config(key="num_fewshot", value=shots or 0)
        task.set_fewshot_seed(seed=self.building.fewshot_seed)

    def _build(self, task: Task, chosen: _Chosen) -> Contexts:
        chat = self.building.apply_chat_template
        task.build_all_requests(
            limit=chosen.limit,
            samples=chosen.samples,
            system_instruction=self.building.system_instruction,
            apply_chat_template=chat,
            fewshot_as_multiturn=self.building.fewshot_as_multiturn,
            chat_template=self.chat_template if chat else None,
            tokenizer_name=self.tokenizer_name if chat else "",
        )
        contexts: dict[int, dict[int, str]] = defaultdict(dict)
        for instance in task.instances:
            if instance.args[0]:
                contexts[instance.doc_id][instance.idx] = instance.args[0]
        return contexts

    def _check(self, name: str, built: Contexts, requests: Sequence[Instance]) -> None:
        for request in requests:
            if request.args[0] != built.get(request.doc_id, {}).get(request.idx, ""):
                raise TaskError(
                    f"Document {request.doc_id} of task {name!r} has another context than its task "
                    f"gives with {self._described()}: give these model arguments the values that "
                    "the harness has, so that the counterpart can be built like it."
                )

    def _described(self) -> str:
        said = {each.name: getattr(self.building, each.name) for each in fields(self.building)}
        return ", ".join(f"{name}={value!r}" for name, value in said.items() if name != "folders")


@cache
def _harness_tasks() -> TaskManager:
    """The harness's own tasks: thousands of files, which take seconds to read."""
    return TaskManager()


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Which documents were asked for, in the two ways that the harness can say it."""

    limit: int | None
    samples: list[int] | None
    places: Mapping[int, int]
    """Document as the harness numbers it -> its place in the data."""


def _task_name(request: Instance) -> str:
    if request.task_name is None or request.doc_id is None:
        raise TaskError(
            "A request does not say its task and document, so that its counterpart cannot be found:"
            " give requests that a task has built."
        )
    return str(request.task_name)


def _places(name: str, data: Sequence[Any], docs: Mapping[int, Any]) -> _Chosen:
    """Where the documents are: ``--limit`` keeps their numbers, ``--samples`` counts anew."""
    if all(at < len(data) and repr(data[at]) == repr(doc) for at, doc in docs.items()):
        return _Chosen(max(docs) + 1, None, {at: at for at in docs})
    at_text: dict[str, list[int]] = defaultdict(list)
    for place, doc in enumerate(data):
        at_text[repr(doc)].append(place)
    found = {at: at_text[repr(doc)] for at, doc in docs.items()}
    unclear = [at for at, places in found.items() if len(places) != 1]
    if unclear:
        raise TaskError(
            f"Document {unclear[0]} of task {name!r} is {len(found[unclear[0]])} times in its "
            "data, so that its counterpart is not clear: leave --samples out."
        )
    places = {at: found[at][0] for at in sorted(found)}
    in_order = list(places.values())
    if list(places) != list(range(len(places))) or sorted(in_order) != in_order:
        raise TaskError(f"The documents of task {name!r} are not numbered as the harness does it.")
    return _Chosen(None, in_order, places)


def _check_size(name: str, aux: Task, n_main: int, chosen: _Chosen) -> None:
    n_aux = len(aux.eval_docs)
    lost = [(at, place) for at, place in chosen.places.items() if place >= n_aux]
    if lost:
        raise TaskError(
            f"Document {lost[0][0]} of task {name!r} has no counterpart: the task "
            f"{aux.task_name!r} has {n_aux} documents, and the same document would be number "
            f"{lost[0][1]}; give an aux task with the same documents in the same order."
        )
    if n_aux != n_main:
        _log.warning(
            "Task %r has %d documents and its counterpart %r has %d: make sure that they are the "
            "same questions in the same order.",
            name,
            n_main,
            aux.task_name,
            n_aux,
        )


def _context(table: Contexts, request: Instance) -> str | None:
    """The counterpart's context: the one of all its choices, or the one of the same choice."""
    if not request.args[0]:
        return None
    contexts = table.get(request.doc_id, {})
    if len(set(contexts.values())) == 1:
        return next(iter(contexts.values()))
    if request.idx not in contexts:
        raise TaskError(
            f"Choice {request.idx} of document {request.doc_id} of task {request.task_name!r} has "
            f"no counterpart: the aux document has {len(contexts)} contexts; give an aux task "
            "with as many."
        )
    return contexts[request.idx]
