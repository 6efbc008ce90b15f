"""The model `crosslatent` of EleutherAI's lm-evaluation-harness: its tasks with a transplant.

Floor 6. Importing this package registers the model. The harness reads its models from a fixed table
and looks for no entry points, so its own command `lm_eval` cannot know the name: use
`crosslatent lm-eval`, `python -m crosslatent.harness`, or `lm_eval.simple_evaluate` after this
import.
"""

from __future__ import annotations

from typing import Any

from crosslatent.core.imports import installed, need

__all__ = ["CrosslatentLM"]

# Without the harness this package can still be imported: its command then says what is missing.
if installed("lm_eval"):
    # A registry that is not empty is not filled any more: the harness's own models come first.
    import lm_eval.models  # noqa: F401

    from crosslatent.harness.lm import CrosslatentLM


def __getattr__(name: str) -> Any:
    """Say why the model is not there, if it is not."""
    if name == "CrosslatentLM":
        need("lm-eval")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
