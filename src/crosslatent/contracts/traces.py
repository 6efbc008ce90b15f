"""Nothing stays behind in the model: no hook and no setting, after success and after an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from crosslatent import engine
from crosslatent.contracts.outcome import Broken
from crosslatent.contracts.subject import Subject
from crosslatent.core.specs import COMPONENTS
from crosslatent.engine import oracle
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.patched import patched
from crosslatent.model.structure import text_config


class _OnPurposeError(Exception):
    """Raised in the middle of a forward."""


def nothing_is_left_behind(subject: Subject) -> dict[str, str | int]:
    """Hooks, `generate` and the attention setting are as before, also after an exception.

    Raises:
        Broken: something is left.
    """
    before = _state(subject)
    acts = _acts(subject)
    for name, act in acts.items():
        act()
        _check(before, _state(subject), f"after {name}")
        with _failing(subject):
            try:
                act()
            except _OnPurposeError:
                pass
            else:
                raise Broken(f"{name} went on although a block failed")
        _check(before, _state(subject), f"after {name} that failed")
    return {"acts": len(acts)}


def _acts(subject: Subject) -> dict[str, Callable[[], object]]:
    model, asked = subject.model, {"max_new_tokens": 2}
    kinds = subject.kinds(COMPONENTS)
    vectors = subject.vectors(subject.aux, kinds)
    rows: list[tuple[Intervention, ...]] = subject.rows(subject.kinds(("attn", "ffn")))[:4]

    def patch() -> None:
        with patched(model, vectors, component=kinds[0], source=0, target=0):
            oracle.run_rows(model, subject.main, [()], **asked)  # type: ignore[arg-type]

    return {
        "a capture": lambda: subject.vectors(subject.aux, kinds),
        "single rows": lambda: oracle.run_rows(model, subject.main, rows, **asked),  # type: ignore[arg-type]
        "rows in a batch": lambda: engine.run_rows(model, subject.main, rows, **asked),  # type: ignore[arg-type]
        "patched": patch,
    }


@contextmanager
def _failing(subject: Subject) -> Iterator[None]:
    """While open, the last block raises."""

    def fail(*_args: Any) -> None:
        raise _OnPurposeError

    handle = subject.model.blocks[-1].whole.register_forward_pre_hook(fail)
    try:
        yield
    finally:
        handle.remove()


def _state(subject: Subject) -> tuple[int, bool, object]:
    hf = subject.model.hf
    hooks = sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)  # noqa: SLF001
        for module in hf.modules()
    )
    setting = getattr(text_config(hf), "_attn_implementation", None)
    return hooks, "generate" in vars(hf), setting


def _check(before: tuple[Any, ...], after: tuple[Any, ...], when: str) -> None:
    names = ("hooks", "a generate of its own", "attention")
    for name, was, now in zip(names, before, after, strict=True):
        if was != now:
            raise Broken(f"{when}: {name} was {was}, and is {now}")
