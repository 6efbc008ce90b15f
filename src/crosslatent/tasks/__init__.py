"""Tasks: items, loaders and answer rules. Nothing here knows of models or results."""

from crosslatent.tasks.item import Item, Shot
from crosslatent.tasks.rules import RULES, Rule, Verdict
from crosslatent.tasks.task import Direction, Task, TaskType, with_shots
from crosslatent.tasks.task_loading import (
    TaskSummary,
    items_of,
    list_tasks,
    load_prompts,
    load_task,
    summarize,
    task_of,
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
    "with_shots",
]
