"""What the methods that transplant share (XTransplant, arXiv 2412.12686)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crosslatent.core.specs import (
    PART_CONTROLS,
    Site,
    TransplantSpec,
    check_component,
    resolve_layer,
)
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.methods.method import Bench, RowChoice, Settings, Way
from crosslatent.runs.schema import RowKey
from crosslatent.selectors.base import Selector
from crosslatent.selectors.candidates import ABSTAIN, NOT_RUN, OTHER
from crosslatent.selectors.crossfit import CrossFitted, fitted_and_tested
from crosslatent.selectors.table import read_table
from crosslatent.sweeps.control import SourcePrompt, Variant, made
from crosslatent.sweeps.vectors import Vectors
from crosslatent.tasks import Item

if TYPE_CHECKING:
    from crosslatent.analysis.data import RunData
    from crosslatent.selectors.division import Division


class TransplantWay(Way):
    """The output of one block in the counterpart's run replaces one in the question's run."""

    edits_only = True

    def __init__(
        self, bench: Bench, vectors: Vectors, spec: TransplantSpec, *, sweeps: bool = True
    ) -> None:
        """Take what is carried where.

        Args:
            bench: the model.
            vectors: of the counterparts.
            spec: the pair; layers may be counted from the end.
            sweeps: whether its rows are those that a sweep would have.
        """
        layers = bench.model.n_layers
        self.spec = TransplantSpec(
            bench.model.check_component(spec.component),
            resolve_layer(spec.source, layers, "source"),
            resolve_layer(spec.target, layers, "target"),
        )
        self._bench, self._vectors = bench, vectors
        if sweeps:
            self.key = RowKey("none", None, self.spec.component, self.spec.source, self.spec.target)

    def prepare(self, items: Sequence[Item], /) -> Mapping[str, str]:
        """Questions without a counterpart cannot be asked."""
        known = self._vectors.donors.items
        return {
            item.id: "It has no counterpart, or the model cannot take that one."
            for item in items
            if item.id not in known
        }

    def edits(self, item: Item, /) -> tuple[Intervention, ...]:
        """The transplant."""
        found = self._vectors.of(SourcePrompt("aux", item.id))[self.spec.component]
        site = Site(self.spec.component, self.spec.target)
        return (Transplant(site, found[self.spec.source]),)

    def beside(self) -> Mapping[RowKey, Way]:
        """Controls that split its gain: loss, size, language, content (docs/methods.md 1.8)."""
        if self.key is None:
            return {}
        names = (*PART_CONTROLS, "mean")
        ways = [ControlWay(self._vectors, name, self.spec) for name in names]
        return {way.key: way for way in ways if way.key is not None}

    def extra_tokens(self, item: Item, /) -> int:
        """Those of the counterpart, which is read once."""
        (ids,) = self._bench.ids([self._vectors.donors.items[item.id].aux])
        return len(ids)


class ControlWay(Way):
    """A control of a sweep at one pair."""

    edits_only = True

    def __init__(self, vectors: Vectors, name: str, spec: TransplantSpec) -> None:
        """Take its vectors.

        Args:
            vectors: of the questions and their counterparts.
            name: of the control.
            spec: the pair.
        """
        self._vectors, self._name = vectors, name
        (pair,) = made(name).pairs([(spec.source, spec.target)])
        self.spec = TransplantSpec(spec.component, *pair)
        self.key = RowKey(name, None, self.spec.component, *pair)

    def prepare(self, items: Sequence[Item], /) -> Mapping[str, str]:
        """Questions that cannot have the control."""
        donors, control = self._vectors.donors, made(self._name)
        return {
            item.id: f"It has no vectors of the control {self._name}."
            for item in items
            if item.id not in donors.items or not list(control.variants(item, donors))
        }

    def edits(self, item: Item, /) -> tuple[Intervention, ...]:
        """The control's vector in the place of the transplant's."""
        found = self._vectors.layers(item, Variant(self._name), self.spec.component)
        site = Site(self.spec.component, self.spec.target)
        return (Transplant(site, found[self.spec.source]),)


def plain(spec: TransplantSpec) -> Settings:
    """A pair as settings."""
    return {"component": spec.component, "source": spec.source, "target": spec.target}


def spec_of(settings: Settings) -> TransplantSpec:
    """A pair from settings."""
    component = check_component(settings["component"])
    return TransplantSpec(component, settings["source"], settings["target"])


def every_pair(bench: Bench) -> list[Settings]:
    """Every layer pair of both components; target 0 and the diagonal alone if it is to be quick.

    Ties go to the smallest target, then to the largest source.
    """
    layers = range(bench.model.n_layers)
    return [
        plain(TransplantSpec(component, source, target))
        for component in ("attn", "ffn")
        for target in layers
        for source in reversed(layers)
        if not bench.quick or target in (0, source)
    ]


def row_choice(
    data: RunData, division: Division, selectors: Sequence[Selector], seed: int
) -> RowChoice:
    """Fit a selector on the rows of the pilot.

    Raises:
        UsageError: it cannot be fitted on them.
        RunFolderError: no pair was run on them.
    """
    _, tested = fitted_and_tested(read_table(data), division, selectors, seed)

    def chosen(later: RunData) -> Mapping[str, RowKey]:
        return _chosen(tested, later)

    return RowChoice(tested.pairs, chosen, tested.cost)


def _chosen(tested: CrossFitted, data: RunData) -> dict[str, RowKey]:
    seen = read_table(data).seen
    keys = {ABSTAIN: RowKey("vanilla"), OTHER: RowKey("translate_test")}
    found = {}
    for item, choice in zip(seen.ids, tested.choose(seen).choice.tolist(), strict=True):
        if choice in keys:
            found[item] = keys[choice]
        elif choice != NOT_RUN:
            pair = seen.pairs[choice]
            found[item] = RowKey("none", None, pair.component, pair.source, pair.target)
    return found
