"""A make-believe accelerator: ``mockgpu:0`` and ``mockgpu:1``, which compute on the CPU.

It stands where backends of other makers stand in PyTorch (PrivateUse1), in Python alone. A tensor
of it wraps one of the CPU, and its ``device`` says mockgpu, in C++ as well. All operators pass
through `MockTensor.__torch_dispatch__`, which refuses what a real accelerator refuses:

- operands on different devices, but for a CPU number of no dimensions in elementwise operators, and
  an index on the CPU into a tensor of the device;
- a result written into a tensor on another device;
- ``numpy()`` of what is not on the CPU, pinned memory, a generator of the CPU.

Refusals are kept in `refused`, also those that were caught. Not seen by it: kernels that lack a
dtype, rounding, memory, races, and branches for devices by their names.

`install` changes torch for the whole process, so these tests run in one of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, ClassVar, Self

import torch
from torch.utils import _device as device_mode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "mockgpu"
COUNT = 2
FREE, TOTAL = 3 << 30, 4 << 30
_CPU = torch.device("cpu")

refused: list[str] = []
"""What has been refused so far."""


waits: list[str] = []
"""Operators so far for which the host waits for a device; a copy in either direction is one."""


def device(index: int = 0) -> torch.device:
    """One of the two devices."""
    return torch.device(NAME, index)


class RefusedError(RuntimeError):
    """What a real accelerator refuses as well."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        refused.append(message)


class Backend:
    """``torch.mockgpu``: what torch and other libraries ask of a device's module."""

    current: ClassVar[int] = 0
    emptied: ClassVar[int] = 0
    seeds: ClassVar[list[int]] = [0] * COUNT
    """State of each device's generator: here, the seed alone."""

    class device:  # noqa: N801 - its name in torch.cuda
        """Makes a device the current one."""

        def __init__(self, which: Any) -> None:
            self.which = _index(which)

        def __enter__(self) -> None:
            self.before, Backend.current = Backend.current, self.which

        def __exit__(self, *_: object) -> None:
            Backend.current = self.before

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        return COUNT

    def current_device(self) -> int:
        return self.current

    def set_device(self, which: Any) -> None:
        Backend.current = _index(which)

    def synchronize(self, which: Any = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        self.seeds[self.current] = seed

    def manual_seed_all(self, seed: int) -> None:
        self.seeds[:] = [seed] * COUNT

    def get_rng_state(self, which: Any = None) -> torch.Tensor:
        return torch.tensor([self.seeds[_index(which)]])

    def set_rng_state(self, state: torch.Tensor, which: Any = None) -> None:
        self.seeds[_index(which)] = int(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def empty_cache(self) -> None:
        Backend.emptied += 1

    def mem_get_info(self, which: Any = None) -> tuple[int, int]:
        return FREE, TOTAL

    def memory_allocated(self, which: Any = None) -> int:
        return 0

    def memory_reserved(self, which: Any = None) -> int:
        return 0


def _index(which: Any) -> int:
    index = which if isinstance(which, int | None) else torch.device(which).index
    return Backend.current if index is None else index


class Operator:
    """What matters of one operator of torch."""

    _copies = frozenset({"_to_copy", "copy_", "copy", "_copy_from", "_copy_from_and_resize"})
    _indexes = frozenset({"index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"})
    _elementwise = frozenset({
        "where", "masked_fill", "masked_fill_", "fill", "fill_", "lerp", "addcmul", "addcdiv",
    })  # fmt: skip

    _waits = frozenset({
        "_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2",
        "unique_dim", "unique_consecutive", "bincount", "histc",
    })  # fmt: skip

    def __init__(self, function: Any) -> None:
        schema = function._schema
        self.name = schema.name.removeprefix("aten::")
        aliases = [(place, one.name, one.alias_info) for place, one in enumerate(schema.arguments)]
        self.written = [(place, name) for place, name, alias in aliases if alias and alias.is_write]
        self.returned = [one.alias_info for one in schema.returns]
        self.is_copy = self.name in self._copies
        self.is_index = self.name in self._indexes
        self.is_wait = self.name in self._waits
        pointwise = torch.Tag.pointwise in function.tags or self.name in self._elementwise
        self.is_elementwise = pointwise or self.name.startswith("_foreach")
        self.is_composite = torch._C._dispatch_has_kernel_for_dispatch_key(
            function.name(), "CompositeImplicitAutograd"
        )

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse operands that do not go together."""
        generators = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Generator)]
        if any(one.device.type != NAME for one in generators):
            raise RefusedError(f"Expected a '{NAME}' device type for generator but found 'cpu'")
        if self.is_copy:
            return
        operands = list(_tensors((args, kwargs)))
        if self.is_index:
            if not isinstance(args[0], MockTensor):
                raise RefusedError(
                    f"indices should be either on cpu or on the same device as the indexed tensor "
                    f"({args[0].device})"
                )
            operands = [args[0], *(one for one in operands if isinstance(one, MockTensor))]
            operands += [one for one in _tensors(args[2:]) if one.dim()]
        elif self.is_elementwise:
            operands = [one for one in operands if one.dim() or isinstance(one, MockTensor)]
        found = sorted({str(one.device) for one in operands})
        if len(found) > 1:
            raise RefusedError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{' and '.join(found)}! (aten::{self.name})"
            )

    def note_wait(self, args: tuple[Any, ...], kwargs: dict[str, Any], where: torch.device) -> None:
        """Keep in `waits` that the host waits: for a number, a shape, or a copy to the other."""
        found = self.is_wait
        if self.is_copy:
            found = len({one.device.type for one in _tensors((args, kwargs))} | {where.type}) > 1
        elif self.is_index:  # places on the CPU are copied; truth values are counted for the shape
            places = list(_tensors(args[1]))
            found = any(one.device.type != NAME or one.dtype == torch.bool for one in places)
        if found:
            waits.append(self.name)

    def targets(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """The arguments that it writes into."""
        return [
            args[place] if place < len(args) else kwargs.get(name) for place, name in self.written
        ]


_operator = functools.cache(Operator)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def _bare(value: Any) -> Any:
    """The same as the CPU takes it."""
    if isinstance(value, MockTensor):
        return value.held
    if isinstance(value, torch.device):
        return _CPU if value.type == NAME else value
    if isinstance(value, dict):
        return {name: _bare(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_bare, value))
    return value


def _placed(value: Any, where: torch.device) -> Any:
    """Results of the CPU as those of a device."""
    if isinstance(value, torch.Tensor) and not isinstance(value, MockTensor):
        return MockTensor(value, where) if where.type == NAME else value
    if isinstance(value, list | tuple):
        return type(value)(_placed(one, where) for one in value)
    return value


def _exact(where: Any) -> torch.device:
    where = torch.device(where)
    return device(_index(where)) if where.type == NAME else where


class MockTensor(torch.Tensor):
    """A tensor of the device; `held` has its values."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor, where: torch.device) -> Self:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=where,
        )
        made.held = held.detach()
        return made

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        operator = _operator(function)
        if operator.is_composite:  # as they come in inference mode
            return function.decompose(*args, **kwargs)
        operator.check(args, kwargs)
        if kwargs.get("pin_memory") or operator.name.endswith("pin_memory"):
            raise RefusedError("Only dense CPU tensors can be pinned")
        own = next(one for one in _tensors((args, kwargs)) if isinstance(one, MockTensor))
        asked = kwargs.get("device")
        where = own.device if asked is None else _exact(asked)
        out = function(*_bare(args), **_bare(kwargs))
        operator.note_wait(args, kwargs, where)
        if operator.written:
            targets = operator.targets(args, kwargs)
            for each in _tensors(targets):
                if isinstance(each, MockTensor) and each.held.shape != each.shape:
                    raise NotImplementedError(f"aten::{operator.name} changes shapes in place")
            if not operator.returned:
                return None
            if all(alias is not None for alias in operator.returned):
                return targets[0] if len(operator.returned) == 1 else tuple(targets)
        # What was made outside inference mode has views that are of its kind.
        plain = torch.is_inference_mode_enabled() and not own.is_inference()
        is_view = plain and any(alias is not None for alias in operator.returned)
        with torch.inference_mode(False) if is_view else nullcontext():
            return _placed(out, where)

    # What Python asks without a dispatch.

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.detach().cpu().numpy()
        refused.append("numpy")
        raise TypeError(f"can't convert {self.device} device type tensor to numpy")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def new_tensor(self, data: Any, **more: Any) -> Any:
        return torch.tensor(data, **({"dtype": self.dtype, "device": self.device} | more))

    def is_pinned(self, which: Any = None) -> bool:
        return False

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(self._places(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(self._places(index), value)

    def _places(self, index: Any) -> Any:
        if isinstance(index, list):  # C++ makes a tensor of it, where Python is not asked
            return torch.tensor(index, device=self.device)
        return tuple(map(self._places, index)) if isinstance(index, tuple) else index

    @property
    def data(self) -> torch.Tensor:
        return self.detach()

    @data.setter
    def data(self, value: torch.Tensor) -> None:
        if not isinstance(value, MockTensor):
            raise RefusedError("incompatible tensor type in .data = : another device")
        torch.Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.held = value.held

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def untyped_storage(self) -> Any:
        return self.held.untyped_storage()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            made: Any = MockTensor(self.held.clone(), self.device)
            if isinstance(self, torch.nn.Parameter):
                made = torch.nn.Parameter(made, self.requires_grad)
            memo[id(self)] = made
        return memo[id(self)]

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"{self.held!r} on {self.device}"


def _made(operator: Any, *args: Any, **kwargs: Any) -> Any:
    """Results of operators that get no tensor: they say where in ``device``."""
    if kwargs.get("pin_memory") or kwargs.get("generator") is not None:
        raise RefusedError(f"{operator}: pinned memory, or a generator of the CPU, on a device")
    where = _exact(kwargs["device"])
    return _placed(operator(*args, **(kwargs | {"device": _CPU})), where)


_FACTORIES = (
    "arange", "arange.start", "arange.start_step", "eye", "eye.m", "linspace", "logspace",
    "range", "range.step", "randperm", "scalar_tensor", "tril_indices", "triu_indices",
)  # fmt: skip
"""Operators that have kernels of their own even for devices without any."""

_registered: list[torch.library.Library] = []


def install() -> None:
    """Register the device, once in a process."""
    if _registered:
        return
    backend = Backend()
    _setup_privateuseone_for_python_backend(rename=NAME, backend_module=backend)
    others = torch.library.Library("_", "IMPL")
    others.fallback(_made, "PrivateUse1")
    others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    factories = torch.library.Library("aten", "IMPL")
    for name in _FACTORIES:
        packet, _, overload = name.partition(".")
        operator = getattr(getattr(torch.ops.aten, packet), overload or "default")
        factories.impl(name, functools.partial(_made, operator), "PrivateUse1")
    _registered.extend([others, factories])
    # `with torch.device(...)` knows factories by identity: it notes the real ones now.
    device_mode._device_constructors()
    for name in ("tensor", "as_tensor", "asarray"):
        setattr(torch, name, _through_cpu(getattr(torch, name)))
    # What torch.accelerator asks an allocator, which a backend in Python has not.
    asked = {
        "get_memory_info": "mem_get_info",
        "empty_cache": "empty_cache",
        "memory_allocated": "memory_allocated",
        "memory_reserved": "memory_reserved",
        "synchronize": "synchronize",
    }
    for name, own in asked.items():
        setattr(torch.accelerator, name, getattr(backend, own))


def _through_cpu(make: Callable[..., Any]) -> Callable[..., Any]:
    """`torch.tensor` and its like, whose C++ does not ask Python when it copies to a device."""

    @functools.wraps(make)
    def made(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Any:
        if device is None or torch.device(device).type != NAME:
            return make(data, *args, device=device, **kwargs)
        wants_gradient = kwargs.pop("requires_grad", False)
        data = data.detach().cpu() if isinstance(data, MockTensor) else data
        return make(data, *args, **kwargs).to(device).requires_grad_(wants_gradient)

    return made
