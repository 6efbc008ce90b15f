"""What a model is compared under, and its form on the command line.

Plain descriptions; `evaluation.running` puts them to work. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from crosslatent.core.errors import ModelError, UsageError
from crosslatent.core.specs import Layer, check_component
from crosslatent.lens.evaluation.evaluation_record import UNMODIFIED, Kind
from crosslatent.lens.space import Space

if TYPE_CHECKING:
    from crosslatent.interventions import condition as interventions
    from crosslatent.lens.steering import Part, Steering
    from crosslatent.model import Model

    Source = Model | str | Path
    """A model, or what to load it from: a folder (of an adapter too), or a hub name."""


@dataclass(frozen=True, slots=True)
class Unmodified:
    """The model as it is."""

    kind: ClassVar[Kind] = "unmodified"
    name: str = UNMODIFIED

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

    kind: ClassVar[Kind] = "tuned"
    name: str
    source: Source | Mapping[str, Source]

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
            return {"models": {lang: _label(source) for lang, source in self.source.items()}}
        return {"model": _label(self.source)}


@dataclass(frozen=True, slots=True, eq=False)
class Steered:
    """Steering towards the language of each question; see `lens.steering`.

    For what is left of the central language, its questions are steered as well: towards each target
    language in turn, as if the steering stayed on.

    Attributes:
        name: of the condition.
        space: the model's language subspaces.
        alpha, layers, part: see `lens.steering.Steering`.
    """

    kind: ClassVar[Kind] = "steering"
    name: str
    space: Space
    alpha: float
    layers: tuple[Layer, ...]
    part: Part = "direction"

    @property
    def about(self) -> str:
        """One sentence for people."""
        blocks = ", ".join(map(str, self.layers))
        what = "the language's direction"
        if self.part == "agnostic":
            what = "the way of the agnostic part to the central language's"
        return f"Steering: {self.alpha:g} times {what}, in block {blocks}."

    @property
    def settings(self) -> dict[str, Any]:
        """What it consists of."""
        return {"alpha": self.alpha, "layers": list(self.layers), "part": self.part}

    def towards(self, lang: str) -> Steering:
        """The steering of a question in one of the space's languages.

        Raises:
            UsageError: see `Steering`.
        """
        from crosslatent.lens.steering import Steering

        return Steering(lang, self.alpha, self.layers, self.part)


@dataclass(frozen=True, slots=True)
class Transplanted:
    """A transplant from each question's own counterpart (XTransplant, arXiv 2412.12686, 3.1).

    Attributes:
        name: of the condition.
        component, source, target: what is carried from which block to which; -1 is the last block.
    """

    kind: ClassVar[Kind] = "transplant"
    name: str
    component: str
    source: int
    target: int

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

    kind: ClassVar[Kind] = "steering+transplant"
    name: str
    steered: Steered
    transplanted: Transplanted

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
    """Interventions that are the same for every question, central ones and texts included."""

    kind: ClassVar[Kind] = "intervention"
    condition: interventions.Condition

    @property
    def name(self) -> str:
        """Name of the condition."""
        return self.condition.name

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
        return all(each.tokens.everywhere for each in self.condition.row)


Condition = Unmodified | Tuned | Steered | Transplanted | Combined | Intervened


def steered_of(condition: Condition) -> Steered | None:
    """The steering in a condition, if there is any."""
    part = condition.steered if isinstance(condition, Combined) else condition
    return part if isinstance(part, Steered) else None


def transplanted_of(condition: Condition) -> Transplanted | None:
    """The transplant in a condition, if there is any."""
    part = condition.transplanted if isinstance(condition, Combined) else condition
    return part if isinstance(part, Transplanted) else None


def sources_of(tuned: Tuned) -> dict[str | None, Source]:
    """The models of a condition by language; None for all languages."""
    source = tuned.source
    return dict(source.items()) if isinstance(source, Mapping) else {None: source}


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
    others = [condition for condition in conditions if not isinstance(condition, Unmodified)]
    if not others:
        raise UsageError(
            "There is nothing to compare the model with: give a condition or more (--tuned, "
            "--steer, --transplant, --condition)."
        )
    taken = {UNMODIFIED}
    for name in (condition.name for condition in others):
        if not name.strip():
            raise UsageError("A condition has no name: give each one of its own.")
        if name in taken:
            raise UsageError(f"Two conditions are called {name!r}: give each a name of its own.")
        taken.add(name)
    return (Unmodified(), *others)


def _label(source: Source) -> str:
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


def parse_tuned(texts: Sequence[str]) -> list[Tuned]:
    """``NAME=DIR``, or ``NAME:LANG=DIR`` for each language of one condition.

    Raises:
        UsageError: a text is neither, or two of them do not go together.
    """
    folders: dict[str, dict[str, str]] = {}
    for text in texts:
        label, folder = _named(text, "--tuned", "NAME=DIR or NAME:LANG=DIR")
        name, _, lang = label.partition(":")
        models = folders.setdefault(name, {})
        # The key of a model for all languages is the empty text.
        if lang in models or (models and "" in (lang, *models)):
            raise UsageError(
                f"--tuned gives {name!r} more than one model for the same questions: give one for "
                "all languages, or one for each."
            )
        models[lang] = folder
    return [Tuned(name, models.get("") or models) for name, models in folders.items()]


def parse_steer(text: str, space: Space) -> Steered:
    """``NAME=LAYERS:ALPHA`` or ``NAME=LAYERS:ALPHA:agnostic``; layers are separated by commas.

    Raises:
        UsageError: it is neither.
    """
    form = "NAME=LAYER:ALPHA, with ':agnostic' after it if the shared part is to be moved"
    name, rest = _named(text, "--steer", form)
    layers, _, how = rest.partition(":")
    alpha, _, part = how.partition(":")
    parts: dict[str, Part] = {"": "direction", "direction": "direction", "agnostic": "agnostic"}
    try:
        blocks = tuple(int(layer) for layer in layers.split(","))
        return Steered(name, space, float(alpha), blocks, parts[part])
    except (ValueError, KeyError) as error:
        raise UsageError(f"--steer is {text!r}, but {form} belongs there.") from error


def parse_transplant(text: str) -> Transplanted:
    """``COMPONENT:SOURCE:TARGET``, with ``NAME=`` before it or called as it reads.

    Raises:
        UsageError: it is not that.
        PairError: the component is unknown.
    """
    name, _, rest = text.rpartition("=")
    component, *layers = rest.split(":")
    try:
        source, target = map(int, layers)
    except ValueError as error:
        raise UsageError(
            f"--transplant is {text!r}, but COMPONENT:SOURCE:TARGET such as ffn:0:0 belongs there."
        ) from error
    return Transplanted(name or rest, check_component(component), source, target)


def parse_combined(text: str, known: Iterable[Condition]) -> Combined:
    """``NAME=STEERING+TRANSPLANT``, the names of two conditions.

    Raises:
        UsageError: it is not that, or there are no such conditions.
    """
    form = "NAME=STEERING+TRANSPLANT, the names of two other conditions"
    name, rest = _named(text, "--combine", form)
    by_name = {condition.name: condition for condition in known}
    first, _, second = rest.partition("+")
    steered, transplanted = by_name.get(first), by_name.get(second)
    if not isinstance(steered, Steered) or not isinstance(transplanted, Transplanted):
        raise UsageError(
            f"--combine is {text!r}, but {form}, belongs there; there are "
            f"{', '.join(by_name) or 'none'}."
        )
    return Combined(name, steered, transplanted)


def _named(text: str, option: str, form: str) -> tuple[str, str]:
    name, _, rest = text.partition("=")
    if not (name.strip() and rest.strip()):
        raise UsageError(f"{option} is {text!r}, but {form} belongs there.")
    return name.strip(), rest.strip()
