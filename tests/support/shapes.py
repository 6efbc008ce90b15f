"""The shapes that annotations promise, checked in every test: of what is given and of what returns.

In use nothing is checked. Here, the modules of `ROOMS` are changed once they have been imported:
functions and methods with a shape in their signature check it, by jaxtyping and beartype. Functions
within functions are left out, since every call would make their checks anew.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, get_args

from beartype.door import is_bearable
from jaxtyping import AbstractArray, jaxtyped

ROOMS = tuple(
    f"crosslatent.{room}" for room in ("engine", "interventions", "lens", "core.subspace")
)

Form = Any
"""What a check depends on: shapes, numbers' types and classes, nested like the values."""


class ShapeError(BaseException):
    """A value has another shape than its annotation; no trial of a path takes it for a refusal."""


class _Finder(MetaPathFinder):
    """Finds the modules of `ROOMS`, to be changed once they have been imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not any(f"{name}.".startswith(f"{room}.") for room in ROOMS):
            return None
        spec = PathFinder.find_spec(name, path, target)
        loader: Any = spec and spec.loader
        if loader is not None:
            load = loader.exec_module
            loader.exec_module = lambda module: (load(module), _check_all(module))
        return spec


def check_shapes() -> None:
    """Check the modules that are imported from now on."""
    late = [name for name in sys.modules if name in ROOMS]
    assert not late, f"imported before their shapes could be checked: {late}"
    sys.meta_path.insert(0, _Finder())


def _check_all(module: ModuleType) -> None:
    owners = [module, *(one for one in vars(module).values() if inspect.isclass(one))]
    for owner in owners:
        if owner is module or owner.__module__ == module.__name__:
            for name, value in list(vars(owner).items()):
                if (checked := _checked(value, module)) is not value:
                    setattr(owner, name, checked)


def _checked(value: Any, module: ModuleType) -> Any:
    """A function, method or property that checks its shapes; whatever else as it is."""
    if isinstance(value, classmethod | staticmethod):
        return type(value)(_checked(value.__func__, module))
    if isinstance(value, property):
        return property(_checked(value.fget, module), value.fset, value.fdel, value.__doc__)
    inner = inspect.unwrap(value) if callable(value) else value
    if not inspect.isfunction(inner) or inner.__module__ != module.__name__:
        return value
    hints = dict(_shapes(inner))
    return _checking(value, hints) if hints else value


def _shapes(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """The annotations with a shape; others may make sense to mypy alone."""
    for name, text in inspect.get_annotations(function).items():
        try:
            hint = eval(text, function.__globals__) if isinstance(text, str) else text
        except (NameError, TypeError):
            assert "Tensor" not in text, f"{function.__qualname__}: cannot check {text}"
            continue
        if any(_is_shape(part) for part in _parts(hint)):
            yield name, hint


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for part in get_args(hint):
        yield from _parts(part)


def _is_shape(hint: Any) -> bool:
    return inspect.isclass(hint) and issubclass(hint, AbstractArray)


def _checking(function: Callable[..., Any], hints: dict[str, Any]) -> Callable[..., Any]:
    places = enumerate(inspect.signature(function).parameters.values())
    wanted = [(at, one.name) for at, one in places if one.name in hints]
    where, passed = function.__qualname__, set[Form]()

    def check(values: dict[str, Any], form: Form) -> None:
        with jaxtyped("context"):
            for name, value in values.items():
                if not is_bearable(value, hint := hints[name]):
                    raise ShapeError(f"{where}, {name}: {_form(value)} is not {hint}")
        passed.add(form)

    @functools.wraps(function)
    def checking(*args: Any, **kwargs: Any) -> Any:
        values = {
            name: args[at] if at < len(args) else kwargs[name]
            for at, name in wanted
            if at < len(args) or name in kwargs
        }
        # What has passed once need not be checked again, which takes ten times as long.
        if (form := _form(values)) not in passed:
            check(values, form)
        result = function(*args, **kwargs)
        if "return" in hints and (form := (form, _form(result))) not in passed:
            check({**values, "return": result}, form)
        return result

    return checking


def _form(value: Any) -> Form:
    if (shape := getattr(value, "shape", None)) is not None:
        return type(value), tuple(shape), value.dtype
    if isinstance(value, dict):
        return tuple((key, _form(held)) for key, held in value.items())
    if isinstance(value, tuple | list):
        return type(value), *map(_form, value)
    return type(value)
