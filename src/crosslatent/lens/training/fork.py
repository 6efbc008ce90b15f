"""A model whose trained blocks are its own, and that shares every other weight with the original.

The released training of Lens (arXiv 2410.04407) holds two whole models. Here a second one costs
its trained blocks alone; the original is never written to. What training leaves is rounded to the
dtype of its folder and written from here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from crosslatent.core.errors import ModelError, RunFolderError, TrainingError
from crosslatent.lens.training.lora import Adapted, add_lora
from crosslatent.lens.training.record import FOLDER, RECORD, TrainRecord
from crosslatent.lens.training.train_spec import AUTO, FLOAT32, MODEL, TrainSpec
from crosslatent.model import Model
from crosslatent.model.blocks import Block
from crosslatent.model.model import identity_of

HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class TrainableFork:
    """A fork with what of it is trained.

    Attributes:
        original: the untouched model.
        spec: the settings of training.
        model: the fork.
        parameters: what of it is trained, by name.
        adapted: its adapters; None if blocks are trained themselves.
    """

    original: Model
    spec: TrainSpec
    model: Model
    parameters: Mapping[str, nn.Parameter]
    adapted: Adapted | None

    @classmethod
    def of(cls, model: Model, blocks: Sequence[int], spec: TrainSpec) -> TrainableFork:
        """A fork of a model whose blocks, or adapters on them, can be trained."""
        adapted = None
        tuned = fork(model, blocks if spec.lora is None else ())
        parameters = parameters_of(tuned, blocks)
        if spec.lora is not None:
            adapted = add_lora(tuned, blocks, spec.lora, seed=spec.seed)
            inside = {id(weight) for weight in adapted.parameters}
            named = tuned.hf.named_parameters()
            parameters = {name: weight for name, weight in named if id(weight) in inside}
        tuned.hf.train(False)
        return cls(model, spec, tuned, parameters, adapted)

    @property
    def is_widened(self) -> bool:
        """Whether the trained model is in float32, although the original is in half precision."""
        if self.adapted is not None or self.spec.save_dtype == MODEL:
            return False
        return any(weight.dtype in HALF for weight in self.original.hf.parameters())

    @property
    def saved_dtype(self) -> str:
        """Name of the dtype that what was trained is saved in."""
        if self.is_widened or self.adapted is not None:
            return FLOAT32
        return str(self.original.dtype).removeprefix("torch.")

    def round_off(self) -> float:
        """Round trained weights to the dtype that they are saved in, but keep their own dtype.

        Returns:
            The share of the change that is lost: norm of the rounding error by norm of the change,
            over all weights together; 0 where nothing has changed or is rounded.
        """
        if self.adapted is not None or self.is_widened:
            return 0.0
        like = dict(self.original.hf.named_parameters())
        error = change = 0.0
        for name, weight in self.parameters.items():
            trained = weight.detach()
            rounded = trained.to(like[name].dtype).to(trained.dtype)
            error += float(torch.linalg.vector_norm((rounded - trained).float())) ** 2
            change += float(torch.linalg.vector_norm((trained - like[name].detach()).float())) ** 2
            weight.data = rounded
        return (error / change) ** 0.5 if change else 0.0

    def settled(self, out: Path | None) -> Model:
        """The fork as the model that was trained.

        Raises:
            TrainingError: there is no memory for all of it in float32.
        """
        name = str(out) if out is not None else f"{self.original.name} (trained)"
        try:
            return settle(self.model, self.original, name, widen=self.is_widened)
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                "There is no memory for the whole trained model in float32: repeat the command "
                "with --save-dtype model, or on another --device, and it goes on from the last "
                "checkpoint."
            ) from error

    def save(self, tuned: Model, out: Path) -> None:
        """Write the settled model, or its adapters, and its tokenizer.

        Raises:
            RunFolderError: the folder cannot be written.
        """
        base = Path(self.original.name)
        try:
            if self.adapted is not None:
                # An absolute path serves from any working directory.
                self.adapted.save(out, str(base.resolve()) if base.is_dir() else self.original.name)
            else:
                tuned.hf.save_pretrained(out)
            tuned.tokenizer.save_pretrained(out)
        except OSError as error:
            raise RunFolderError(
                f"Cannot write the trained model to {str(out)!r} ({error.strerror or error}): make "
                "room, and the same command goes on from its checkpoint."
            ) from error

    def restore(self, out: Path, record: TrainRecord) -> Model:
        """The trained model that a finished run has saved.

        Raises:
            RunFolderError: it cannot be read, or is saved in another dtype than is asked for.
        """
        there = record.saved.get("dtype", self.saved_dtype)
        if self.spec.save_dtype != AUTO and there != self.saved_dtype:
            raise RunFolderError(
                f"The model in {str(out)!r} was trained and saved in {there}, not "
                f"{self.saved_dtype}: leave --save-dtype out, give another folder, or start over "
                "with --new."
            )
        try:
            if self.adapted is not None:
                self.adapted.restore(out)
            else:
                kind: Any = type(self.original.hf)
                saved = kind.from_pretrained(out, dtype="auto", use_safetensors=True)
                weights = dict(saved.named_parameters())
                for name, weight in self.parameters.items():
                    weight.data = weights[name].detach().to(weight.device)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise RunFolderError(
                f"Training in {str(out)!r} is finished ({FOLDER}/{RECORD}), but the model there "
                f"cannot be read ({reason}): put it back, or start over with --new."
            ) from error
        widen = self.is_widened and there == FLOAT32
        return settle(self.model, self.original, str(out), widen=widen)


def fork(model: Model, blocks: Sequence[int]) -> Model:
    """Copy a model so that only some blocks have weights of their own.

    Shared weights are the same memory under new parameters that want no gradient, so that freezing
    them leaves the original's flags alone. Modules, configuration and hooks are copies.

    Args:
        model: left exactly as it is.
        blocks: which blocks get weights of their own, counted from 0; may be empty.

    Returns:
        A model that computes the same; parameters of `blocks` want a gradient, if they can.

    Raises:
        ModelError: weights are spread over several devices, or kept on a disk.
    """
    devices = {weight.device for weight in model.hf.parameters()}
    if len(devices) > 1 or any(device.type == "meta" for device in devices):
        raise ModelError(
            f"The weights of {model.name} are in several places "
            f"({', '.join(sorted(map(str, devices)))}), and training needs them on one device: "
            "load the model with another --device."
        )
    own = {id(weight) for block in blocks for weight in model.blocks[block].whole.parameters()}
    shared = [weight for weight in model.hf.parameters() if id(weight) not in own]
    memo: dict[int, Any] = {id(weight): _view(weight) for weight in shared}
    memo |= {id(value): value for value in _frozen_buffers(model, blocks)}
    hf = copy.deepcopy(model.hf, memo)
    names = {id(module): name for name, module in model.hf.named_modules()}

    def same(value: Any) -> Any:
        return hf.get_submodule(names[id(value)]) if isinstance(value, nn.Module) else value

    def parts(block: Block) -> dict[str, Any]:
        values = {each.name: same(getattr(block, each.name)) for each in fields(block)}
        return values | {"flat": frozenset(map(same, block.flat))}

    copies = tuple(replace(block, **parts(block)) for block in model.blocks)
    for block in blocks:
        for weight in copies[block].whole.parameters():
            weight.requires_grad_(weight.is_floating_point())
            weight.grad = None
    return replace(model, hf=hf, blocks=copies)


def parameters_of(model: Model, blocks: Sequence[int]) -> dict[str, nn.Parameter]:
    """The parameters of some blocks, by their names in the model."""
    inside = {id(weight) for block in blocks for weight in model.blocks[block].whole.parameters()}
    named = model.hf.named_parameters()
    return {name: weight for name, weight in named if id(weight) in inside}


def make_masters(parameters: Sequence[nn.Parameter]) -> None:
    """Keep weights in float32 while they are trained: small steps are lost in half precision."""
    for weight in parameters:
        if weight.dtype in HALF:
            weight.data = weight.data.float()


def settle(tuned: Model, like: Model, name: str, *, widen: bool = False) -> Model:
    """The trained model as any other: one dtype, the original's mode and flags, its own identity.

    Args:
        tuned: a fork of `like`, after training.
        like: the original.
        name: what to call the trained model.
        widen: bring everything in half precision to float32, so that nothing that was trained is
            lost; weights that were shared with the original are then copies. Else trained weights
            are rounded to the original's dtype.
    """
    flags = dict(like.hf.named_parameters())
    for key, weight in tuned.hf.named_parameters():
        weight.grad = None
        if key in flags:
            if weight.is_floating_point() and not widen:
                weight.data = weight.data.to(flags[key].dtype)
            weight.requires_grad_(flags[key].requires_grad)
    if widen:
        _widen(tuned)
    tuned.hf.train(False)
    return replace(tuned, name=name, identity=identity_of(tuned.hf, tuned.tokenizer))


def _widen(model: Model) -> None:
    """Bring what is in half precision to float32; nothing that is shared is written to."""
    make_masters([weight for weight in model.hf.parameters() if type(weight) is nn.Parameter])
    for module in model.hf.modules():
        for name, value in module.named_buffers(recurse=False):
            if value.dtype in HALF:
                setattr(module, name, value.float())
    model.hf.config.dtype = torch.float32


def _view(weight: nn.Parameter) -> nn.Parameter:
    # Other kinds (bitsandbytes, torchao) carry more than a tensor, and want no gradient anyway.
    if type(weight) is not nn.Parameter:
        return weight
    return nn.Parameter(weight.detach(), requires_grad=False)


def _frozen_buffers(model: Model, blocks: Sequence[int]) -> Iterator[Tensor]:
    """Buffers outside the trained blocks."""
    inside = {id(value) for block in blocks for value in model.blocks[block].whole.buffers()}
    yield from (value for value in model.hf.buffers() if id(value) not in inside)
