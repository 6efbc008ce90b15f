"""Conditions: what a model is compared under.

Plain descriptions; `lens.running` puts them to work. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslatent.core.errors import ModelError, UsageError
from crosslatent.core.specs import Layer
from crosslatent.lens.evaluation.folder import UNMODIFIED
from crosslatent.lens.evaluation.results import Kind
from crosslatent.lens.space import Space

if TYPE_CHECKING:
    from crosslatent.interventions import condition as interventions
    from crosslatent.lens.steer import Part, Steering
    from crosslatent.model import Model


@dataclass(frozen=True, slots=True)
class Unmodified:
    """The model as it is."""

    name: str = UNMODIFIED

    @property
    def kind(self) -> Kind:
        """What it is."""
        return "unmodified"

    @property
    def about(self) -> str:
        """One sentence for people."""
        return "The model as it is."

    @property
    def settings(self) -> dict[str, Any]:
        """What it consists of."""
        return {}


@dataclass(frozen=True, slots=True)
class Tuned:
    """A trained model in the place of the unmodified one, or one for each target language.

    Attributes:
        name: of the condition.
        source: a model, or what to load it from: a folder (of an adapter too), or a hub name; or a
            mapping from language to such a one. Each of several models answers the questions in its
            language, and all of them the central ones.
    """

    name: str
    source: Model | str | Path | Mapping[str, Model | str | Path]

    @property
    def kind(self) -> Kind:
        """What it is."""
        return "tuned"

    @property
    def about(self) -> str:
        """One sentence for people."""
        if isinstance(self.source, Mapping):
            langs = ", ".join(self.source)
            return f"Trained models, one for each target language ({langs})."
        return f"The trained model {_label(self.source)}."

    @property
    def settings(self) -> dict[str, Any]:
        """What it consists of."""
        if isinstance(self.source, Mapping):
            return {"models": {lang: _label(one) for lang, one in self.source.items()}}
        return {"model": _label(self.source)}


@dataclass(frozen=True, slots=True, eq=False)
class Steered:
    """Steering towards the language of each question; see `lens.steer`.

    For what is left of the central language, its questions are steered as well: towards each target
    language in turn, as if the steering stayed on.

    Attributes:
        name: of the condition.
        space: the model's language subspaces.
        alpha, layers, part: see `lens.steer.Steering`.
    """

    name: str
    space: Space
    alpha: float
    layers: tuple[Layer, ...]
    part: Part = "direction"

    @property
    def kind(self) -> Kind:
        """What it is."""
        return "steering"

    @property
    def about(self) -> str:
        """One sentence for people."""
        blocks = ", ".join(map(str, self.layers))
        if self.part == "agnostic":
            return (
                f"Steering: {self.alpha:g} times the way of the agnostic part to the central "
                f"language's, in block {blocks}."
            )
        return f"Steering: {self.alpha:g} times the language's direction, in block {blocks}."

    @property
    def settings(self) -> dict[str, Any]:
        """What it consists of."""
        return {"alpha": self.alpha, "layers": list(self.layers), "part": self.part}

    def towards(self, lang: str) -> Steering:
        """The steering of a question in one of the space's languages.

        Raises:
            UsageError: see `Steering`.
        """
        from crosslatent.lens.steer import Steering

        return Steering(lang, self.alpha, self.layers, self.part)


@dataclass(frozen=True, slots=True)
class Transplanted:
    """A transplant from each question's own counterpart (XTransplant, arXiv 2412.12686, 3.1).

    Attributes:
        name: of the condition.
        component, source, target: what is carried from which block to which; -1 is the last block.
    """

    name: str
    component: str
    source: int
    target: int

    @property
    def kind(self) -> Kind:
        """What it is."""
        return "transplant"

    @property
    def about(self) -> str:
        """One sentence for people."""
        return (
            f"Transplant of {self.component}, block {self.source} of the counterpart's run to "
            f"block {self.target}."
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What it consists of."""
        return {"component": self.component, "source": self.source, "target": self.target}


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """Steering and a transplant at once; the counterpart is read by the unmodified model.

    Attributes:
        name: of the condition.
        steered, transplanted: the two; their own names do not matter.
    """

    name: str
    steered: Steered
    transplanted: Transplanted

    @property
    def kind(self) -> Kind:
        """What it is."""
        return "steering+transplant"

    @property
    def about(self) -> str:
        """One sentence for people."""
        return f"{self.steered.about} {self.transplanted.about}"

    @property
    def settings(self) -> dict[str, Any]:
        """What it consists of."""
        return {**self.steered.settings, **self.transplanted.settings}


@dataclass(frozen=True, slots=True, eq=False)
class Intervened:
    """Interventions that are the same for every question, central ones and texts included.

    Attributes:
        condition: them, with their name.
    """

    condition: interventions.Condition

    @property
    def name(self) -> str:
        """Name of the condition."""
        return self.condition.name

    @property
    def kind(self) -> Kind:
        """What it is."""
        return "intervention"

    @property
    def about(self) -> str:
        """One sentence for people."""
        return self.condition.about

    @property
    def settings(self) -> dict[str, Any]:
        """What it consists of."""
        return {"id": self.condition.id, "interventions": self.condition.settings}

    @property
    def changes_texts(self) -> bool:
        """Whether it changes a text that is no prompt: then a divergence can be measured."""
        return all(each.tokens.kind == "all" for each in self.condition.row)


Condition = Unmodified | Tuned | Steered | Transplanted | Combined | Intervened


def steered_of(condition: Condition) -> Steered | None:
    """The steering in a condition, if there is any."""
    if isinstance(condition, Combined):
        return condition.steered
    return condition if isinstance(condition, Steered) else None


def transplanted_of(condition: Condition) -> Transplanted | None:
    """The transplant in a condition, if there is any."""
    if isinstance(condition, Combined):
        return condition.transplanted
    return condition if isinstance(condition, Transplanted) else None


def sources_of(tuned: Tuned) -> dict[str | None, Model | str | Path]:
    """The models of a condition by language; None for all languages."""
    found: dict[str | None, Model | str | Path] = {}
    if isinstance(tuned.source, Mapping):
        found.update(tuned.source.items())
    else:
        found[None] = tuned.source
    return found


def check_folders(tuned: Tuned) -> None:
    """Refuse folders of trained models that are not there.

    Raises:
        ModelError: there is no such folder.
    """
    for source in sources_of(tuned).values():
        if isinstance(source, str | Path) and _is_local(source) and not Path(source).is_dir():
            raise ModelError(
                f"There is no folder {str(source)!r} for the condition {tuned.name!r}: give the "
                "one that training wrote."
            )


def check_conditions(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """The conditions, the unmodified model first; it is added if it is not there.

    Raises:
        UsageError: there is none beside the unmodified model, or two have one name.
    """
    others = [one for one in conditions if not isinstance(one, Unmodified)]
    if not others:
        raise UsageError(
            "There is nothing to compare the model with: give a condition or more (--tuned, "
            "--steer, --transplant, --condition)."
        )
    taken = {UNMODIFIED}
    for one in others:
        if not one.name.strip():
            raise UsageError("A condition has no name: give each one of its own.")
        if one.name in taken:
            raise UsageError(
                f"Two conditions are called {one.name!r}: give each a name of its own."
            )
        taken.add(one.name)
    return (Unmodified(), *others)


def _label(source: Model | str | Path) -> str:
    return str(source) if isinstance(source, str | Path) else source.name


def _is_local(source: str | Path) -> bool:
    """Whether it can only be the path of a folder.

    Names on the hub have at most one slash; if the part before it is a folder here, it is a path.
    """
    text = str(source)
    if isinstance(source, Path) or text.startswith((".", "/", "~")):
        return True
    first, slash, rest = text.replace("\\", "/").partition("/")
    return bool(slash) and ("/" in rest or "\\" in text or Path(first).exists())
