"""The training loop: optimizer and schedule, steps, evaluations, early stopping, checkpoints.

It knows rows by number and a loss by its terms, and nothing of languages or models.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NoReturn, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from transformers import get_scheduler

from crosslatent.core.errors import TrainingError
from crosslatent.lens.training.checkpoints import Checkpoint, Checkpointer, Pace, Progressed
from crosslatent.lens.training.parallel_rows import RowSplit, order_of, parts_of, steps_of
from crosslatent.lens.training.processes import Processes, seeded
from crosslatent.lens.training.record import EARLY, FINISHED, INTERRUPTED, CurvePoint
from crosslatent.lens.training.train_spec import TrainSpec

TRUNK: Final = "trunk"
TRAIN: Final = "train"
HELD_OUT: Final = "held_out"


class Objective(Protocol):
    """A loss over rows that is a weighted sum of terms, each a mean over something in the rows."""

    def sizes(self, rows: Sequence[int]) -> Mapping[str, float]:
        """What the sums in the terms of these rows are divided by."""

    def pieces(self, rows: Sequence[int]) -> list[list[int]]:
        """Rows of a batch in the pieces that are computed one after the other."""

    def terms(self, rows: Sequence[int], sizes: Mapping[str, float]) -> dict[str, Tensor]:
        """What rows contribute to the terms of all the rows that `sizes` is of."""

    def loss(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the terms."""


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """How far a training run is.

    Attributes:
        stage: "trunk" while states are computed, then "train".
        done: texts, or steps.
        total: all of them.
        loss: of the last step.
        seconds: time that this stage has taken.
    """

    stage: Literal["trunk", "train"]
    done: int
    total: int
    loss: float | None
    seconds: float


ShowTraining = Callable[[TrainProgress], None]


class Descent:
    """AdamW with a schedule of `total` steps, and the state that resuming them takes."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], spec: TrainSpec, total: int) -> None:
        self._parameters = parameters
        self._most = math.inf if spec.clip is None else spec.clip
        matrices = [weight for weight in parameters.values() if weight.dim() > 1]
        others = [weight for weight in parameters.values() if weight.dim() <= 1]
        # As in the released training: norms and biases are not pulled towards 0.
        groups = [
            {"params": weights, "weight_decay": decay}
            for weights, decay in ((matrices, spec.weight_decay), (others, 0.0))
            if weights
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=spec.lr)
        self._schedule: Any = get_scheduler(
            spec.schedule.replace("constant", "constant_with_warmup"),
            self._optimizer,
            num_warmup_steps=math.ceil(spec.warmup * total),
            num_training_steps=total,
        )

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def clip(self) -> float:
        """Shorten the gradient if it is too long; returns its norm before."""
        return float(clip_grad_norm_(list(self._parameters.values()), self._most))

    def step(self) -> None:
        """Take a step, and free the gradient."""
        self._optimizer.step()
        self._schedule.step()
        self.forget()

    def forget(self) -> None:
        """Free the gradient."""
        self._optimizer.zero_grad(set_to_none=True)

    def moments(self) -> dict[str, Tensor]:
        """The optimizer's state by ``kind:parameter``, on the CPU."""
        return {
            f"{kind}:{name}": _on_cpu(value)
            for name, weight in self._parameters.items()
            for kind, value in self._optimizer.state.get(weight, {}).items()
        }

    def restore(self, moments: Mapping[str, Tensor], step: int) -> None:
        """Go on as if `step` steps had been taken and had left these moments."""
        self._optimizer.state.clear()
        for key, value in moments.items():
            kind, _, name = key.partition(":")
            weight = self._parameters[name]
            # AdamW keeps its count of steps on the CPU.
            own = value if kind == "step" else value.to(weight.device)
            self._optimizer.state[weight][kind] = own
        self._schedule.last_epoch = step
        rates = zip(self._schedule.base_lrs, self._schedule.lr_lambdas, strict=True)
        for group, (base, factor) in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = base * factor(step)


@dataclass(slots=True)
class Loop:
    """One training run.

    Attributes:
        objective: what is made small.
        parameters: what is trained, by name.
        modules: put into training mode for steps (dropout), and out of it for evaluations.
        split: rows to train on and to evaluate.
        spec: the settings.
        processes: that train together; each does its share of every batch.
        checkpointer: of checkpoints; None to keep none.
        show: called after every step.
    """

    objective: Objective
    parameters: Mapping[str, nn.Parameter]
    modules: Sequence[nn.Module]
    split: RowSplit
    spec: TrainSpec
    processes: Processes
    checkpointer: Checkpointer | None = None
    show: ShowTraining | None = None
    progressed: Progressed = field(default_factory=Progressed, init=False)
    _descent: Descent = field(init=False)
    _best: dict[str, Tensor] | None = field(default=None, init=False)
    _whole: bool = field(default=True, init=False)
    """Whether the weights are those after a whole step."""
    _pace: Pace = field(default_factory=Pace, init=False)

    def __post_init__(self) -> None:
        """Make the optimizer and the schedule."""
        self._descent = Descent(self.parameters, self.spec, self.total)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the rows."""
        return steps_of(len(self.split.train), self.spec.batch_size, self.spec.accumulate)

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        if self.spec.max_steps is not None:
            return self.spec.max_steps
        return self.steps_per_epoch * self.spec.epochs

    def run(self) -> None:
        """Train to the end, from the last checkpoint if there is one.

        Raises:
            TrainingError: the loss or the gradient is no longer a finite number.
        """
        checkpoint = self.checkpointer.load() if self.checkpointer else None
        self.processes.wait()  # no process writes a checkpoint before all have read theirs
        if checkpoint is not None:
            self._restore(checkpoint)
        if self.progressed.stopped in (FINISHED, EARLY):
            return
        self.progressed.stopped = None
        begun = time.monotonic() - self.progressed.seconds.get(TRAIN, 0.0)
        try:
            self._steps(begun)
        except KeyboardInterrupt:
            if self._whole:
                self.progressed.stopped = INTERRUPTED
                self._keep()
            raise
        finally:
            self._train_mode(on=False)

    def _steps(self, begun: float) -> None:
        state, patience = self.progressed, self.spec.patience
        while state.stopped is None:
            if self._is_due():
                self._evaluate()
                if patience is not None and state.worse >= patience:
                    state.stopped = EARLY
                    break
                if state.step < self.total:
                    self._keep()
            if state.step >= self.total:
                state.stopped = FINISHED
                break
            self._step()
            state.seconds[TRAIN] = time.monotonic() - begun
            self._tell()
            if state.step < self.total and self._pace.is_due(state.step, self.spec):
                self._keep()
        state.seconds[TRAIN] = time.monotonic() - begun
        if self._best is not None:
            self._put(self._best)
            self._best = None
        # The optimizer's state is not needed any more; the weights that count are.
        self._keep(finished=True)

    def _tell(self) -> None:
        state = self.progressed
        if self.show is not None:
            loss, seconds = state.curve[-1].loss, state.seconds[TRAIN]
            self.show(TrainProgress(TRAIN, state.step, self.total, loss, seconds))

    def _step(self) -> None:
        state, spec = self.progressed, self.spec
        epoch, number = divmod(state.step, self.steps_per_epoch)
        order = order_of(self.split.train, epoch, spec.seed)
        rows = parts_of(order, spec.batch_size * spec.accumulate)[number]
        self._train_mode(on=True)
        lr = self._descent.lr
        with seeded(_seed_of(spec.seed, state.step, self.processes.rank)):
            terms = self._gradient(rows)
        loss = self._check(terms)
        norm = self._descent.clip()
        if not math.isfinite(norm):
            self._fail(f"the norm of the gradient is {norm}", terms)
        self._whole = False
        self._descent.step()
        state.step += 1
        self._note(TRAIN, lr, loss, terms)
        self._whole = True

    def _note(self, split: str, lr: float | None, loss: float, terms: Mapping[str, Tensor]) -> None:
        step = self.progressed.step
        point = CurvePoint(step, step / self.steps_per_epoch, split, lr, loss, _numbers(terms))
        self.progressed.curve.append(point)

    def _train_mode(self, *, on: bool) -> None:
        for module in self.modules:
            module.train(on)

    def _gradient(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Leave the gradient of the loss of all these rows; returns its terms."""
        sizes = self.objective.sizes(rows)
        parts: list[dict[str, Tensor]] = []
        for piece in self._pieces(rows):
            terms = self.objective.terms(piece, sizes)
            self.objective.loss(terms).backward()
            parts.append({name: term.detach() for name, term in terms.items()})
        self._add_up_gradients()
        return self._sum(parts)

    def _pieces(self, rows: Sequence[int]) -> Iterator[list[int]]:
        """This process's share of every batch, in pieces."""
        for part in parts_of(rows, self.spec.batch_size):
            yield from self.objective.pieces(self.processes.share(part))

    def _add_up_gradients(self) -> None:
        # Plain sums after a step, and no wrapper that averages during it: the parts of a step add
        # up to its gradient exactly, however rows and languages fall on the processes.
        if self.processes.world == 1:
            return
        gradients = []
        for weight in self.parameters.values():
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            gradients.append(weight.grad)
        self.processes.add_up(gradients)

    def _sum(self, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Terms added up over parts and processes."""
        if self.processes.world == 1:
            return {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}
        # A process without rows does not know the names; the first one always has rows.
        names = self.processes.agree(list(parts[0]) if parts else [])
        zero = torch.zeros((), device=next(iter(self.parameters.values())).device)
        sums = {
            name: torch.stack([zero, *(part[name].float() for part in parts)]).sum()
            for name in names
        }
        self.processes.add_up(sums.values())
        return sums

    def _evaluate(self) -> None:
        """Add a point of the held-out rows to the curve, and note the best one."""
        state = self.progressed
        if not self.split.held_out:
            return
        terms = self._held_out()
        loss = self._check(terms)
        self._note(HELD_OUT, None, loss, terms)
        if state.best_loss is not None and loss >= state.best_loss:
            state.worse += 1
            return
        state.best_step, state.best_loss, state.worse = state.step, loss, 0
        if self.spec.patience is not None:
            self._best = self._weights()

    def measure(self) -> tuple[float, dict[str, float]] | None:
        """Loss and terms of the held-out rows with the weights as they are; None without rows."""
        if not self.split.held_out:
            return None
        terms = self._held_out()
        return float(self.objective.loss(terms)), _numbers(terms)

    def _held_out(self) -> dict[str, Tensor]:
        rows = self.split.held_out
        self._train_mode(on=False)
        sizes = self.objective.sizes(rows)
        with torch.no_grad():
            return self._sum([self.objective.terms(part, sizes) for part in self._pieces(rows)])

    def _is_due(self) -> bool:
        """Whether an evaluation comes before the next step."""
        state = self.progressed
        every = self.spec.evaluate_every or self.steps_per_epoch
        done = bool(state.curve) and state.curve[-1].split == HELD_OUT
        return not done and (state.step % every == 0 or state.step == self.total)

    def _check(self, terms: Mapping[str, Tensor]) -> float:
        """The loss of a step, if it is a finite number."""
        loss = float(self.objective.loss(terms))
        if not math.isfinite(loss):
            self._fail(f"the loss is {loss}", terms)
        return loss

    def _fail(self, what: str, terms: Mapping[str, Tensor]) -> NoReturn:
        """Go back to the last good checkpoint, and say so."""
        step = self.progressed.step + 1
        self._descent.forget()
        checkpoint = self.checkpointer.load() if self.checkpointer else None
        if checkpoint is not None:
            self._restore(checkpoint)
        values = ", ".join(f"{name} {float(term):.4g}" for name, term in terms.items())
        where = "no folder was given to keep one in"
        if self.checkpointer is not None:
            where = f"the one of step {self.progressed.step} is in {str(self.checkpointer.path)!r}"
        raise TrainingError(
            f"Training stopped at step {step}, because {what} ({values}): try a lower learning "
            f"rate; of good checkpoints, {where}."
        )

    def _weights(self) -> dict[str, Tensor]:
        """A copy of the trained weights, on the CPU."""
        return {name: _on_cpu(weight) for name, weight in self.parameters.items()}

    def _keep(self, *, finished: bool = False) -> None:
        """Write a checkpoint, if there is a place for it and it is this process's to write."""
        if self.checkpointer is None or not self.processes.writes:
            return
        begun = time.monotonic()
        moments = {} if finished else self._descent.moments()
        self.checkpointer.save(Checkpoint(self.progressed, self._weights(), moments, self._best))
        self._pace.note(self.progressed.step, time.monotonic() - begun)

    def _restore(self, checkpoint: Checkpoint) -> None:
        self._put(checkpoint.weights)
        self._best = checkpoint.best
        self.progressed = checkpoint.progressed
        self._descent.restore(checkpoint.optimizer, self.progressed.step)
        self._pace.note(self.progressed.step, self._pace.took)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.parameters.items():
                weight.copy_(weights[name])


def _on_cpu(weight: Tensor) -> Tensor:
    return weight.detach().to("cpu", copy=True).contiguous()


def _numbers(terms: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(term) for name, term in terms.items()}


def _seed_of(seed: int, step: int, rank: int) -> int:
    """Seed of a step in a process, so that a resumed run draws the same dropout."""
    return ((seed * 1_000_003 + step) * 1_009 + rank) % 2**63
