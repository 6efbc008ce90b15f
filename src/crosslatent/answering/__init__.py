"""From items and interventions to judged rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosslatent.model.chat import Prompt

if TYPE_CHECKING:
    from crosslatent.tasks import Item


def prompts_of(item: Item) -> tuple[Prompt, Prompt]:
    """Main and aux as the model is asked, with the item's shots before them."""
    return (
        Prompt(item.main, tuple((shot.main, shot.main_answer) for shot in item.shots)),
        Prompt(item.aux, tuple((shot.aux, shot.aux_answer) for shot in item.shots)),
    )
