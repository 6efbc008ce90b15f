"""The Python interface: one transplant, a sweep, and a run folder as an object.

What needs torch is imported where it is used: a run folder is read without it, in half the time.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from crosslatent.core.errors import PairError, PromptError, UsageError
from crosslatent.core.settings import complete, documented, part
from crosslatent.core.specs import (
    Component,
    Site,
    TransplantSpec,
    chat_of,
    check_component,
    resolve_layer,
    right_now,
)
from crosslatent.core.untrusted import ends_in_blank
from crosslatent.runs import RunReader
from crosslatent.runs.contents import readable
from crosslatent.runs.folder import VECTORS
from crosslatent.runs.run_path import run_path
from crosslatent.runs.vectors import VectorParts
from crosslatent.sweeps.spec import RaySettings, RunSettings, SweepSpec
from crosslatent.tasks import Item, Task, task_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import plotly.graph_objects as go
    import polars as pl
    from numpy.typing import NDArray
    from upath import UPath

    from crosslatent.model import Model
    from crosslatent.sweeps import Progress


@dataclass(frozen=True, slots=True)
class TransplantResult:
    """One transplant beside the unmodified answer.

    Attributes:
        vanilla: unmodified answer.
        output: answer with the transplant.
        vanilla_ids: new token ids of `vanilla`, end token left out.
        output_ids: new token ids of `output`, end token left out.
        component: what was carried.
        source: layer it was taken from, from 0.
        target: layer it was put in, from 0.
        also: further transplants in the same answer.
        strength: alpha of all of them; 1 is the paper's replacement.
        positions: how many of the last tokens were carried over.
        main_token: last token of main, as text: the one that was replaced.
        aux_token: last token of aux, as text: the one that was captured.
        main_length: tokens of main.
        aux_length: tokens of aux.
        thought: mark of the thought that main ends in, which the answer then begins in; None if it
            ends in none.
    """

    vanilla: str
    output: str
    vanilla_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    component: Component
    source: int
    target: int
    also: tuple[TransplantSpec, ...]
    strength: float
    positions: int
    main_token: str
    aux_token: str
    main_length: int
    aux_length: int
    thought: str | None = None

    @property
    def same_last_token(self) -> bool:
        """Whether both prompts end in the same token; if not, the vector says another thing too."""
        return self.main_token == self.aux_token

    @property
    def ends_in_blank(self) -> bool:
        """Whether both prompts end in a token that is nothing but a blank; answers suffer then."""
        # Of a token that is a blank alone, many tokenizers print nothing.
        return all(
            not token or (not token.strip() and ends_in_blank(token))
            for token in (self.main_token, self.aux_token)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; `thought` only if there is one."""
        plain = asdict(self)
        if self.thought is None:
            del plain["thought"]
        return plain


def transplant(
    model: Model,
    *,
    main: str,
    aux: str,
    component: str,
    source: int,
    target: int,
    also: Sequence[TransplantSpec] = (),
    strength: float = 1.0,
    positions: int = 1,
    max_new_tokens: int = 20,
    chat: bool = False,
    chat_args: Mapping[str, Any] | None = None,
) -> TransplantResult:
    """Answer `main` with an activation of `aux` in it (XTransplant, arXiv 2412.12686, section 3.1).

    Args:
        model: the model.
        main: the prompt that is answered.
        aux: its counterpart in another language.
        component: "attn", "ffn", "attn_residual" or "block"; in encoder-decoder models
            "cross_attn", too.
        source: layer of aux to take the vector from; -1 is the last.
        target: layer of main to put it in; -1 is the last.
        also: more transplants in the same answer.
        strength: alpha in own + alpha * (vector - own); 1 is the paper's replacement.
        positions: how many of the last tokens are carried over, aligned from the end.
        max_new_tokens: most new tokens, the end token counted in.
        chat: both prompts go through the tokenizer's chat template.
        chat_args: arguments of the template by name, such as ``{"enable_thinking": False}``.

    Raises:
        PairError: unknown component, a layer that the model does not have, or a place that is
            edited twice.
        PromptError: a prompt is empty, longer than the context, or shorter than `positions`.
        ModelError: the tokenizer has no chat template, or it does not read an argument.
        UsageError: `chat_args` without `chat`, or some that are no plain data.
    """
    from crosslatent.engine import oracle
    from crosslatent.interventions.activations import capture_ids
    from crosslatent.interventions.kinds import Transplant
    from crosslatent.model import encode
    from crosslatent.model.chat import Prompt, open_thought
    from crosslatent.model.prompts import check_positions

    if max_new_tokens < 1:
        raise PromptError(f"max_new_tokens is {max_new_tokens}: it must be 1 or more.")
    asked = [TransplantSpec(check_component(component), source, target), *also]
    edits = [_resolved(model, one) for one in asked]
    as_chat = chat_of(chat, chat_args, right_now())
    main_ids = encode(model, main, role="main", new_tokens=max_new_tokens, chat=as_chat)
    aux_ids = encode(model, aux, role="aux", chat=as_chat)
    ends = [model.decoder_reads(ids) for ids in (main_ids, aux_ids)]
    check_positions(positions, *ends)
    kinds = sorted({edit.component for edit in edits})
    vectors = capture_ids(model, [aux_ids], kinds, positions=positions)
    row = tuple(
        Transplant(
            Site(edit.component, edit.target), vectors[edit.component][0, edit.source], strength
        )
        for edit in edits
    )
    vanilla, edited = oracle.run_rows(model, main_ids, [(), row], max_new_tokens=max_new_tokens)
    first = edits[0]
    return TransplantResult(
        vanilla=model.text_of(list(vanilla.ids)),
        output=model.text_of(list(edited.ids)),
        vanilla_ids=vanilla.ids,
        output_ids=edited.ids,
        component=first.component,
        source=first.source,
        target=first.target,
        also=tuple(edits[1:]),
        strength=strength,
        positions=positions,
        main_token=model.token_text(ends[0][-1]),
        aux_token=model.token_text(ends[1][-1]),
        main_length=len(main_ids),
        aux_length=len(aux_ids),
        thought=open_thought(model, Prompt(main), chat=as_chat),
    )


def _resolved(model: Model, asked: TransplantSpec) -> TransplantSpec:
    return TransplantSpec(
        model.check_component(check_component(asked.component)),
        resolve_layer(asked.source, model.n_layers, "source"),
        resolve_layer(asked.target, model.n_layers, "target"),
    )


class Run:
    """A run folder: rows as a data frame, upper bounds and heat maps."""

    def __init__(self, path: str | Path | UPath) -> None:
        """Open a run folder, by its path or its URL.

        Raises:
            RunFolderError: it is not one, has no rows yet, or is damaged.
        """
        self._reader = RunReader(path)
        self.path = self._reader.path

    def to_pandas(self) -> pd.DataFrame:
        """The rows, one per generated answer; columns as in `runs.schema.ROWS`."""
        with readable(self.path), self._reader.connect() as connection:
            frame: pd.DataFrame = connection.execute("SELECT * FROM rows").df()
        return frame

    def to_polars(self) -> pl.DataFrame:
        """The rows for polars, mappings as lists of keys and values.

        Raises:
            UsageError: polars is not installed.
        """
        return self._reader.to_polars()

    def vectors(self, component: str) -> dict[str, NDArray[np.float32]]:
        """The vectors captured from each item's aux; needs a run with `keep_vectors`.

        Returns:
            Item -> layers d_model (layers positions d_model, if several), in float32.

        Raises:
            PairError: the run has no vectors of this component.
            RunFolderError: they cannot be read.
        """
        found = VectorParts(self.path / VECTORS).read(component)
        if not found:
            raise PairError(
                f"The run has no vectors of {component!r}: sweep it with --keep-vectors, and name "
                "one of its components."
            )
        return found

    def upper_bound(self) -> pd.DataFrame:
        """Share of items that any pair solves, by component and control, with intervals.

        See docs/methods.md 1.3: an upper bound means little without its controls beside it.
        """
        from crosslatent.analysis.frames import upper_bounds

        return upper_bounds(self._reader)

    def heatmap(self, component: str | None = None) -> go.Figure:
        """Gain over vanilla by source and target layer; by default of the run's first component.

        Raises:
            PairError: the run does not have this component.
        """
        from crosslatent.report import heatmap

        ran: list[Component] = self._reader.manifest["spec"].get("components", [])
        if not ran:
            raise PairError("The run has no pairs of layers to draw: sweep some.")
        if component is not None and component not in ran:
            raise PairError(f"The run has no {component!r} rows: it has {', '.join(ran)}.")
        return heatmap(self._reader, check_component(component or ran[0]))


class SweepOptions(SweepSpec, RunSettings, RaySettings):
    """The settings of `sweep`."""


@documented(SweepOptions)
def sweep(
    model: Model | str | Path,
    items: Task | Sequence[Item | Mapping[str, Any]],
    *,
    out: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[SweepOptions],
) -> Run:
    """Run every (source, target) pair on every item; see `sweeps.run_sweep`.

    What fails is in the run's `failures` and does not raise.

    Args:
        model: the model; or its folder or name on the hub, which is then loaded as `load` does, or,
            with `ray`, by every worker.
        items: a task, or items, or objects with `main`, `aux` and what else `tasks.Item` has.
        out: the run folder or its URL, resumed if it holds the same run; None makes a temporary
            folder.
        progress: called after every step of every batch.
        {settings}

    Raises:
        UsageError: something in the arguments does not fit the model or the items; with `ray`, a
            model that is loaded already.
        SweepError: one item after another fails.
    """
    from crosslatent.model import Model, load
    from crosslatent.sweeps import run_sweep

    complete(SweepOptions, options)
    spec, running, ray = (
        part(SweepSpec, options),
        part(RunSettings, options),
        part(RaySettings, options),
    )
    task = items if isinstance(items, Task) else task_of(items)
    folder = run_path(out if out is not None else tempfile.mkdtemp(prefix="crosslatent-"))
    if ray["ray"] is None:
        loaded = model if isinstance(model, Model) else load(model)
        outcome = run_sweep(
            loaded, task, spec, folder, progress=progress, warned=_warned, **running
        )
        return Run(outcome.path)
    if isinstance(model, Model):
        raise UsageError(
            f"With ray, every worker loads the model itself, but {model.name!r} is loaded already: "
            "give its folder or name instead."
        )
    from crosslatent.distributed import Cluster, ModelSource, SweepJob, run_on_ray

    job = SweepJob(ModelSource.of(model), task, spec, str(folder.absolute()), running=running)
    cluster = Cluster(ray["ray"], ray["ray_workers"], ray["ray_gpus"])
    outcome = run_on_ray(
        job, cluster, slice_rows=ray["slice_rows"], progress=progress, warned=_warned
    )
    return Run(outcome.path)


class SweepWarning(UserWarning):
    """What a user should know of a sweep's prompts, or of resuming it."""


def _warned(note: str) -> None:
    warnings.warn(note, SweepWarning, stacklevel=4)
