"""Tasks: items, loaders and answer rules. Nothing here knows of models or results."""

from crosslatent.tasks.item import Item, Shot
from crosslatent.tasks.prompts import load_prompts, task_of
from crosslatent.tasks.registry import TaskSummary, list_tasks, load_task, summarize
from crosslatent.tasks.rules import RULES, Rule, Verdict
from crosslatent.tasks.shots import with_shots
from crosslatent.tasks.task import Direction, Task, TaskType

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
    "list_tasks",
    "load_prompts",
    "load_task",
    "summarize",
    "task_of",
    "with_shots",
]
