"""AdamW with a schedule: the steps downhill, and the state that going on with them takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from transformers import get_scheduler

from crosslatent.lens.training.train_spec import TrainSpec

_NAMES = {"constant": "constant_with_warmup"}
"""What transformers calls a schedule, where that is another name."""


class Descent:
    """The optimizer and the schedule of one run.

    Args:
        parameters: what is trained, by name.
        spec: learning rate, decay, warm-up, schedule and clipping.
        total: steps of the whole run.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], spec: TrainSpec, total: int) -> None:
        self._parameters = parameters
        self._most = math.inf if spec.clip is None else spec.clip
        # As in the released training: norms and biases are not pulled towards 0.
        groups = [
            {
                "params": [weight for weight in parameters.values() if (weight.dim() > 1) is many],
                "weight_decay": spec.weight_decay if many else 0.0,
            }
            for many in (True, False)
        ]
        self._optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=spec.lr
        )
        self._schedule: Any = get_scheduler(
            _NAMES.get(spec.schedule, spec.schedule),
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
        """Take a step, and forget the gradient."""
        self._optimizer.step()
        self._schedule.step()
        self.forget()

    def forget(self) -> None:
        """Free the gradient."""
        self._optimizer.zero_grad(set_to_none=True)

    def moments(self) -> dict[str, Tensor]:
        """The optimizer's state by ``kind:parameter``, on the CPU."""
        return {
            f"{kind}:{name}": value.detach().to("cpu", copy=True).contiguous()
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
            self._optimizer.state[weight][kind] = (
                value if kind == "step" else value.to(weight.device)
            )
        self._schedule.last_epoch = step
        factors = [factor(step) for factor in self._schedule.lr_lambdas]
        for group, base, factor in zip(
            self._optimizer.param_groups, self._schedule.base_lrs, factors, strict=True
        ):
            group["lr"] = base * factor
