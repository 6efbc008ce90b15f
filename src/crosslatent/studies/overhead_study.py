"""`overhead`: what ways of answering cost beside the unmodified model: measured, planned, counted.

Beside every ratio of times is the ratio of counted multiply-adds (`core.costs`), so that what the
method costs can be distinguished from what this package adds to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from crosslatent.core import hardware
from crosslatent.core.costs import Counted, Shape, count, human_bytes, share_left
from crosslatent.core.errors import UsageError
from crosslatent.core.hardware import MACHINES, SIZES, Machine, Planned, Shares, planned, shape_of
from crosslatent.core.settings import complete, documented
from crosslatent.core.specs import Pair, check_component, resolve_layer
from crosslatent.core.untrusted import parse_json
from crosslatent.studies.overhead_record import (
    PHASES,
    WAYS,
    Overhead,
    WayCost,
    with_times,
    workloads,
)
from crosslatent.studies.overhead_settings import OverheadSettings

if TYPE_CHECKING:
    from crosslatent.model import Model

_TOKENS = (
    "Prompts are random token ids of exactly that length, and no token ends an answer. The time to "
    "the first token is that of a call for one new token; the time of a new token is the rest of a "
    "whole call, divided by the other tokens."
)
_WAYS = (
    "A transplant edits one block at the last token of main; its vector is at hand, or aux is read "
    "for it first. Steering edits one block at every token. A selector such as the surer of both "
    "answers main and aux; one with pairs reads aux, and answers main with each of them."
)
_CALLED = (
    "Unmodified answers, transplants and steering are the model's own generate, without and within "
    "xl.patched and xl.intervened; answers to both prompts and with pairs come from this package's "
    "engine, as a chooser's do, whose unmodified answers have a line of their own."
)
_NO_TIME = (
    "Reading prompts, and each new token, take the longer of computing and of moving weights, "
    "keys and values. Starting kernels, choosing tokens and this package take no time."
)
_COUNTED = (
    "Multiply-adds are those of linear layers, attention and the head in a plain implementation; "
    "the engine saves what the last block makes of all prompt tokens but the last. They say "
    "nothing of memory: weights are read once for all rows of a batch, so answers that are decoded "
    "together take less time than their multiply-adds. What is expected of a whole answer weighs "
    "the multiply-adds of each phase by the unmodified model's own time in it."
)


@documented(OverheadSettings)
def overhead(
    model: Model | str | Path | None = None,
    *,
    progress: Callable[[str], None] | None = None,
    **options: Unpack[OverheadSettings],
) -> Overhead:
    """What transplants, steering and choosing cost beside the unmodified model.

    Args:
        model: the model; or its folder or name on the hub, which is then loaded. A plan of a size
            needs none, and of a folder reads its config.json alone.
        progress: gets a line after each round of measuring.
        {settings}

    Raises:
        UsageError: something in the settings cannot be, or the model is of a kind whose
            multiply-adds are not counted.
        PairError: a component or block that the model does not have.
        ModelError: the model cannot be loaded.
    """
    asked = complete(OverheadSettings, options)
    shape, machine = check_overhead(model, asked)
    if shape is not None and machine is not None:
        return _plan(_Job.of(model, shape, asked), machine)
    if shape is not None and asked["dry_run"]:
        return _counted(_Job.of(model, shape, asked))
    from crosslatent.model import loaded

    assert model is not None
    return _measure(loaded(model), asked, progress or (lambda _line: None))


def check_overhead(
    model: Model | str | Path | None, asked: OverheadSettings
) -> tuple[Shape | None, Machine | None]:
    """Refuse what cannot be, as far as that is seen without loading a model.

    Returns:
        The sizes of the model (None for one on the hub), and the machine of a plan.

    Raises:
        UsageError: see `overhead`.
        PairError: see `overhead`.
    """
    _check_settings(asked)
    shape, machine = _planned_for(model, asked)
    if shape is None:
        config = _config(model, needed=machine is not None or asked["dry_run"])
        shape = None if config is None else shape_of(config)
        _check_context(asked, None if config is None else config.get("max_position_embeddings"))
    if shape is not None:
        _Job.of(model, shape, asked)
    check_component(asked["component"])
    return shape, machine


def _check_settings(asked: Mapping[str, Any]) -> None:
    for name in ("prompt_tokens", "batch_sizes", "max_new_tokens", "pairs", "repetitions"):
        numbers = _several(asked[name])
        if not numbers or any(type(number) is not int or number < 1 for number in numbers):
            raise UsageError(
                f"The setting {name.replace('_', ' ')!r} is {asked[name]!r}: give whole numbers of "
                "1 or more."
            )
    for name in ("utilisation", "bandwidth_share"):
        if not 0 < asked[name] <= 1:
            raise UsageError(
                f"The setting {name.replace('_', ' ')!r} is {asked[name]!r}: give a share above 0, "
                "and up to 1."
            )


def _planned_for(model: object, asked: OverheadSettings) -> tuple[Shape | None, Machine | None]:
    """The size and the machine of a plan; None where it names none, or there is no plan."""
    plan = asked["plan"]
    if plan is None:
        if model is None:
            raise UsageError(
                "There is no model: give one with --model, or plan for a size, such as "
                "--plan 7B@h200."
            )
        return None, None
    size, at, name = plan.rpartition("@")
    if name not in MACHINES or (at and size not in ("", *SIZES)):
        raise UsageError(
            f"The plan is {plan!r}: give one of {', '.join(SIZES)}, then @ and one of "
            f"{', '.join(MACHINES)}, such as 7B@h200."
        )
    if bool(size) == (model is not None):
        raise UsageError(
            f"The plan {plan!r} names {'a size, and there is a model too' if size else 'no size'}: "
            "give either a size, such as 7B@h200, or --model with a machine alone, such as h200."
        )
    if asked["dry_run"]:
        raise UsageError("--plan runs nothing and counts too: leave --dry-run out.")
    return SIZES.get(size), MACHINES[name]


def _config(model: Any, *, needed: bool) -> dict[str, Any] | None:
    """What config.json of a model states; None for one on the hub."""
    if hasattr(model, "hf"):
        found: dict[str, Any] = model.hf.config.to_dict()
        return found
    try:
        config = parse_json((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if not needed:
            return None
        raise UsageError(
            f"{str(model)!r} is no folder with a config.json that can be read, which --plan and "
            "--dry-run need: give one, or plan for a size, such as 7B@h200."
        ) from error
    return dict(config)


def _check_context(asked: OverheadSettings, context: object) -> None:
    if not isinstance(context, int):
        return
    longest, new = max(_several(asked["prompt_tokens"])), asked["max_new_tokens"]
    if max(2 * longest, longest + new) > context:
        raise UsageError(
            f"Prompts of {longest:,} tokens need a context of {max(2 * longest, longest + new):,} "
            f"(for a counterpart twice as long, or {new:,} new tokens), but the model's is "
            f"{context:,}: give shorter ones with --prompt-tokens."
        )


def _several(given: Any) -> Sequence[int]:
    return given if isinstance(given, tuple | list) else (given,)


@dataclass(frozen=True, slots=True)
class _Job:
    """What is asked, of a model whose sizes are known."""

    name: str
    shape: Shape
    asked: OverheadSettings
    pairs: tuple[Pair, ...]
    layer: int

    @classmethod
    def of(cls, model: Any, shape: Shape, asked: OverheadSettings) -> _Job:
        """The job, if the model has as many blocks and pairs.

        Raises:
            PairError: there is no such block.
            UsageError: there are not as many pairs.
        """
        most, wanted = shape.layers**2, asked["pairs"]
        if wanted > most:
            raise UsageError(
                f"{wanted:,} pairs are more than the {most:,} of a model with {shape.layers} "
                "blocks: give fewer with --pairs."
            )
        places = [(2 * number + 1) * most // (2 * wanted) for number in range(wanted)]
        layer = asked["layer"]
        return cls(
            str(getattr(model, "name", model) or asked["plan"]),
            shape,
            asked,
            tuple(divmod(place, shape.layers) for place in places),
            shape.layers // 2 if layer is None else resolve_layer(layer, shape.layers, "layer"),
        )

    @property
    def cells(self) -> list[tuple[int, int]]:
        """Every length with every batch."""
        lengths, batches = map(_several, (self.asked["prompt_tokens"], self.asked["batch_sizes"]))
        return [(length, batch) for length in lengths for batch in batches]

    @property
    def new_tokens(self) -> int:
        """Of every answer."""
        return self.asked["max_new_tokens"]

    def ways(self, prompt: int, batch: int) -> dict[str, WayCost]:
        """Every way, counted."""
        left = share_left([target for _, target in self.pairs], self.shape.layers)
        works = workloads(prompt, len(self.pairs), left)
        counts = {name: count(self.shape, work, self.new_tokens) for name, work in works.items()}
        vanilla = counts["vanilla"]
        return {
            name: WayCost(
                way=name,
                about=WAYS[name].format(pairs=len(self.pairs)),
                prompt_tokens=prompt,
                batch_size=batch,
                tokens=work.tokens(self.new_tokens),
                multiply_adds=counts[name].total,
                counted=_multiples(counts[name], vanilla),
                seconds={},
                ratios={},
            )
            for name, work in works.items()
        }

    def unrun(self, prompt: int, batch: int) -> dict[str, WayCost]:
        """The ways that differ where nothing is run, counted: the engine's own cost is not."""
        ways = self.ways(prompt, batch)
        del ways["engine"]
        return ways

    def planned(self, prompt: int, batch: int, machine: Machine) -> dict[str, Planned]:
        """The time of every way on a machine."""
        left = share_left([target for _, target in self.pairs], self.shape.layers)
        shares = Shares(self.asked["utilisation"], self.asked["bandwidth_share"])
        return {
            name: planned(self.shape, work, self.new_tokens, batch, machine, shares)
            for name, work in workloads(prompt, len(self.pairs), left).items()
        }

    def found(
        self,
        kind: str,
        ways: Sequence[WayCost],
        machine: Mapping[str, Any],
        assumptions: Sequence[str],
    ) -> Overhead:
        """The result."""
        settings = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self.asked.items()
        }
        return Overhead(
            kind=kind,
            model=self.name,
            shape=self.shape,
            parameters=self.shape.parameters,
            machine=machine,
            settings={**settings, "layer": self.layer},
            assumptions=(*assumptions, _COUNTED),
            ways=tuple(ways),
        )


def _multiples(counted: Counted, vanilla: Counted) -> dict[str, float | None]:
    pairs = zip(PHASES, _phases(counted), _phases(vanilla), strict=True)
    return {phase: one / other if other else None for phase, one, other in pairs}


def _phases(counted: Counted) -> tuple[float, float, float]:
    return counted.prefill.total, counted.decode.total, counted.total


def _counted(job: _Job) -> Overhead:
    ways = [way for cell in job.cells for way in job.unrun(*cell).values()]
    return job.found("counted", ways, {}, [_WAYS])


def _plan(job: _Job, machine: Machine) -> Overhead:
    ways, most = [], 1
    for prompt, batch in job.cells:
        times = job.planned(prompt, batch, machine)
        most = max(most, *(one.devices for one in times.values()))
        rounds = {
            name: [(one.first, one.first + (job.new_tokens - 1) * one.token)]
            for name, one in times.items()
        }
        for way in with_times(job.unrun(prompt, batch), rounds, job.new_tokens):
            one = times[way.way]
            ways.append(replace(way, memory_bytes=one.memory, waits_for=one.limits))
    return job.found("planned", ways, asdict(machine), list(_assumed(job, machine, most)))


def _assumed(job: _Job, machine: Machine, devices: int) -> list[str]:
    compute, bandwidth = job.asked["utilisation"], job.asked["bandwidth_share"]
    said = [
        (
            f"{machine.name}, as its maker publishes: {machine.peak / 1e12:,.4g} TFLOP/s of dense "
            f"products, {machine.bandwidth / 1e12:,.4g} TB/s; {machine.number} bytes a number."
        ),
        (
            f"Reading prompts reaches {compute:.0%} of that peak, and moving bytes "
            f"{bandwidth:.0%} of that bandwidth; these shares are assumed, not measured."
        ),
        _NO_TIME,
    ]
    if devices > 1:
        size = human_bytes(job.shape.parameters * machine.number)
        said.append(
            f"The weights are {size}: with keys and values, up to {devices} such devices hold "
            "them, and divide the work evenly at no cost."
        )
    return [_WAYS, *said, "No machine has confirmed these times."]


def _measure(model: Model, asked: OverheadSettings, say: Callable[[str], None]) -> Overhead:
    import torch

    _check_context(asked, model.context_length)
    job = _Job.of(model, _shape(model), asked)
    ways = [way for cell in job.cells for way in _measured(model, job, *cell, say)]
    machine = hardware.describe(torch.get_num_threads())
    machine |= {"device": str(model.device), "dtype": str(model.dtype).removeprefix("torch.")}
    return job.found("measured", ways, machine, [_WAYS, _TOKENS, _CALLED])


def _measured(
    model: Model, job: _Job, prompt: int, batch: int, say: Callable[[str], None]
) -> Iterator[WayCost]:
    """Every way for prompts of one length in batches of one size."""
    from crosslatent.studies import answering_ways as answering

    component = model.check_component(check_component(job.asked["component"]))
    runs = answering.AnsweringWays(
        model, prompt, batch, job.pairs, component, job.layer, job.asked["seed"]
    ).runs()
    repetitions, title = job.asked["repetitions"], f"{prompt:,} tokens, {batch:,} together"
    rounds = answering.timed_rounds(
        runs,
        job.new_tokens,
        repetitions,
        clock=answering.clock_of(model),
        done=lambda number: say(f"{title}: round {number} of {repetitions}"),
    )
    for way in with_times(job.ways(prompt, batch), rounds, job.new_tokens):
        used = answering.peak_growth(partial(runs[way.way], job.new_tokens), model)
        yield replace(way, memory_bytes=used)


def _shape(model: Model) -> Shape:
    """Sizes of a loaded model; the weights of its blocks are those that it has."""
    shape = shape_of(model.hf.config.to_dict())
    weights = [
        weight.numel()
        for block in model.blocks
        for weight in block.whole.parameters()
        if weight.ndim == 2 and weight.is_floating_point()
    ]
    own = sum(weights) // max(1, model.n_layers)
    return shape if own in (0, shape.linear) else replace(shape, block_weights=own)
