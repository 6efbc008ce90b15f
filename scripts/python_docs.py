"""Write docs/python.md, every public name with its docstring: `python -m scripts.python_docs`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crosslatent as xl

TARGET = Path(__file__).parents[1] / "docs" / "python.md"
HEAD = """# Python reference

Every public name; `xl` is the package. This page is written by
`make docs` from the docstrings. How the parts go together: [tour](tour.md), [runs](runs.md),
[own questions](own-questions.md), [Lens](lens.md).
"""
GROUPS: dict[str, tuple[str, ...]] = {
    "Models": ("load", "wrap", "shipped_model", "Model", "check", "Outcome"),
    "One prompt": (
        "transplant", "TransplantResult", "capture", "patched", "intervened", "Intervention",
        "Transplant", "Ablate", "Steer", "Tokens", "ALL", "LAST", "PROMPT",
    ),
    "Questions": ("load_task", "load_prompts", "Task", "Item", "Verdict"),
    "Sweeps and runs": ("sweep", "Run", "compare_runs", "Comparison"),
    "Better answers": ("improve", "Improvement", "load_chooser", "Chooser"),
    "Methods side by side": ("compare", "MethodComparison"),
    "Culture": ("culture", "CultureCard", "Measure", "register_measure"),
    "Costs": ("overhead", "Overhead"),
    "Lens": tuple(f"lens.{name}" for name in xl.lens.__all__),
    "Extensions": (
        "register_control", "Control", "register_figure", "register_intervention",
        "register_metric", "register_rule", "register_selector", "Selector",
    ),
    "Errors and version": ("CrosslatentError", "__version__"),
}  # fmt: skip
_SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")


def render() -> str:
    """The content of docs/python.md."""
    return "\n".join([HEAD, *(line for group in GROUPS.items() for line in _group(*group))])


def _group(title: str, names: tuple[str, ...]) -> Iterator[str]:
    yield f"## {title}\n"
    for name in names:
        found: Any = xl
        for part in name.split("."):
            found = getattr(found, part)
        yield from _entry(f"xl.{name}", found, "###")
        if inspect.isclass(found):
            for each, member in _members(found):
                yield from _entry(each, member, "####")


def _entry(name: str, found: Any, level: str) -> Iterator[str]:
    if not (inspect.isclass(found) or callable(found) or isinstance(found, property)):
        yield f"{level} `{name}`\n"
        yield f"`{found!r}`\n"
        return
    yield f"{level} `{name}{_signature(found)}`\n"
    yield from _text(inspect.getdoc(found) or "")


def _signature(found: Any) -> str:
    if isinstance(found, property) or (inspect.isclass(found) and issubclass(found, Exception)):
        return ""
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return ""
    plain = [
        one.replace(annotation=one.empty)
        for one in signature.parameters.values()
        if one.name not in ("self", "cls") and not one.name.startswith("_")
    ]
    shown = str(signature.replace(parameters=plain, return_annotation=signature.empty))
    return re.sub(r"<([\w.]+)[^>]*>", r"\1", shown)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    for name, member in vars(kind).items():
        wanted = isinstance(member, property | classmethod) or inspect.isfunction(member)
        if wanted and not name.startswith("_") and inspect.getdoc(getattr(kind, name)):
            found = member if isinstance(member, property) else getattr(kind, name)
            yield f"{kind.__name__}.{name}", found


def _text(doc: str) -> Iterator[str]:
    """A docstring as Markdown: its sections as lists."""
    section = ""
    for paragraph in re.split(r"\n\n+", doc):
        first, _, rest = paragraph.partition("\n")
        if first.rstrip(":") in _SECTIONS and first.endswith(":"):
            section = first.rstrip(":")
            yield f"{section}:\n"
            yield from _listed(inspect.cleandoc("\n" + rest), section)
        elif paragraph.startswith("    "):
            yield "```python\n" + inspect.cleandoc("\n" + paragraph) + "\n```\n"
        else:
            yield f"{_flat(paragraph)}\n"


def _listed(text: str, section: str) -> Iterator[str]:
    for entry in re.split(r"\n(?=\S)", text):
        name, colon, what = entry.partition(": ")
        named = colon and section not in ("Returns", "Yields")
        yield f"- `{name}`: {_flat(what)}" if named else f"- {_flat(entry)}"
    yield ""


def _flat(text: str) -> str:
    joined = " ".join(text.split()).replace("``", "`")
    return joined.replace("<", "&lt;") if "`" not in joined else joined


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
