"""Tasks: items, loaders and answer rules. Nothing here knows of models or results."""

from crosslatent.tasks.item import Item, Shot
from crosslatent.tasks.prompt_files import items_of, load_prompts, task_of
from crosslatent.tasks.rules import RULES, Rule, Verdict
from crosslatent.tasks.task import Direction, Task, TaskType, turned, with_shots
from crosslatent.tasks.task_loading import (
    TaskSummary,
    list_tasks,
    load_task,
    summarize,
)

__all__ = [
    "RULES",
    "Direction",
    "Item",
    "Rule",
    "Shot",
    "Task",
    "TaskSummary",
    "TaskType",
    "Verdict",
    "items_of",
    "list_tasks",
    "load_prompts",
    "load_task",
    "summarize",
    "task_of",
    "turned",
    "with_shots",
]
