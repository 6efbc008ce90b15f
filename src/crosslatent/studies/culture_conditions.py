"""What a culture card asks: a question in its forms, under vectors of a donor prompt.

A donor prompt of another country is the counterpart of the same question about that country, in its
language: the questions of one cluster are the same question about several countries.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain

from torch import Tensor

from crosslatent.analysis.culture.card import Matched
from crosslatent.analysis.culture.culture_answers import DONOR, PLAIN, TRANSPLANT, VANILLA
from crosslatent.analysis.culture.stored_answers import country_of
from crosslatent.core.errors import ITEM_FAULTS, TaskError
from crosslatent.core.specs import PRESETS, Site, TransplantSpec, canonical_hash
from crosslatent.interventions.intervention import Intervention
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.methods.method import Bench, Way
from crosslatent.methods.pair_ways import TransplantWay
from crosslatent.runs.schema import RowKey
from crosslatent.studies.culture_settings import CultureSettings
from crosslatent.sweeps.control import SourcePrompt, Variant, made
from crosslatent.sweeps.vectors import Vectors
from crosslatent.tasks import Item
from crosslatent.tasks.other_forms import FRAMES, PERSONAS, as_person, framed, reordered

REVERSED = "order:1"
"""The form with the options in reverse."""

Edit = Callable[[Item], tuple[Intervention, ...]]
"""What is changed while a question is answered."""


def forms(item: Item, *, quick: bool) -> dict[str, Item]:
    """A question as it is, with its options in reverse, in other words, as a person.

    Args:
        item: the question.
        quick: one frame and one persona alone.

    Returns:
        Name of a form -> the question in it; without those that it cannot have.
    """
    found = {PLAIN: item}
    if item.options is not None:
        with suppress(TaskError):  # its prompt does not list its options
            found[REVERSED] = reordered(item, tuple(reversed(range(len(item.options)))))
    for number in range(1, (1 if quick else FRAMES) + 1):
        found[f"frame:{number}"] = framed(item, number)
    country = country_of(item.strata)
    for number in range(1, (1 if quick else PERSONAS) + 1 if country else 1):
        found[f"persona:{number}"] = as_person(item, country, item.lang, number)
    return found


@dataclass
class AskedCondition:
    """One condition in one form, with the questions that can be asked.

    Attributes:
        name: of the condition, such as "transplant", "donor:sw".
        form: of the questions.
        key: of its rows.
        items: the questions as they are, which can be asked so.
        way: what answers them.
    """

    name: str
    form: str
    key: RowKey
    items: list[Item]
    way: Way


class CultureWay(Way):
    """Questions in some form, under some edits."""

    def __init__(
        self, asked: Mapping[str, Item], edit: Edit | None = None, *, plain: bool = True
    ) -> None:
        """Take what is asked and changed.

        Args:
            asked: id of a question -> the question as it is asked.
            edit: what is changed; None for nothing.
            plain: the questions are asked as they are, so that many conditions share a reading.
        """
        self._asked, self._edit, self.edits_only = asked, edit, plain

    def asked(self, item: Item, /) -> Item:
        """The question in its form."""
        return self._asked[item.id]

    def edits(self, item: Item, /) -> tuple[Intervention, ...]:
        """What is changed."""
        return () if self._edit is None else self._edit(item)


class DonorVectors:
    """Edits that put vectors of donor prompts into questions, in one form of all of them."""

    def __init__(self, bench: Bench, items: Sequence[Item], spec: TransplantSpec) -> None:
        """Prepare to read vectors.

        Args:
            bench: the model.
            items: all questions, in their form.
            spec: the pair.
        """
        self.items = {item.id: item for item in items}
        self._bench, self._spec = bench, spec
        self._vectors = bench.vectors(items)
        self._same: Vectors | None = None
        self._by_lang: dict[str, list[Item]] = defaultdict(list)
        for item in self._vectors.donors.items.values():
            self._by_lang[item.aux_lang].append(item)

    def has(self, item: Item) -> bool:
        """Whether a question has a counterpart that the model can read."""
        return item.id in self._vectors.donors.items

    def from_aux(self, source: Callable[[Item], str]) -> Edit:
        """The vector of the counterpart of a question: by default its own."""

        def edit(item: Item) -> tuple[Intervention, ...]:
            return self._put(self._vectors, source(item))

        return edit

    def from_paraphrase(self) -> Edit:
        """The vector of the question in other words of its own language."""
        if self._same is None:
            self._same = self._bench.vectors(
                [
                    replace(one, aux=one.paraphrase or one.main, aux_lang=one.lang)
                    for one in self.items.values()
                ]
            )
        vectors = self._same
        return lambda item: self._put(vectors, item.id)

    def noise(self) -> Edit:
        """Gaussian noise as long as the vector of the counterpart."""
        control = made("noise")

        def edit(item: Item) -> tuple[Intervention, ...]:
            own, component = self.items[item.id], self._spec.component
            return self._into(control.layers(own, Variant("noise"), component, self._vectors))

        return edit

    def another(self, item: Item, seed: int) -> str | None:
        """Another question in the same donor language, drawn; None if there is none."""
        own = self.items[item.id]
        pool = self._by_lang[own.aux_lang]
        digest = hashlib.sha256(f"{seed}/{item.id}".encode()).digest()
        start = int.from_bytes(digest[:7], "big") % len(pool) if pool else 0
        # The first one from a place that is drawn which asks something else.
        others = (
            one.id
            for one in chain(pool[start:], pool[:start])
            if one.cluster != own.cluster and one.aux != own.aux
        )
        return next(others, None)

    def _put(self, vectors: Vectors, name: str) -> tuple[Intervention, ...]:
        return self._into(vectors.of(SourcePrompt("aux", name))[self._spec.component])

    def _into(self, layers: Tensor) -> tuple[Intervention, ...]:
        site = Site(self._spec.component, self._spec.target)
        return (Transplant(site, layers[self._spec.source]),)

    def readable(self, name: str) -> bool:
        """Whether the counterpart of a question can be read."""
        try:
            self._vectors.of(SourcePrompt("aux", name))
        except (KeyError, *ITEM_FAULTS):
            return False
        return True


def siblings(items: Sequence[Item], donors: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """Donors of other countries: id of a question -> language -> id of the same question there.

    Of several countries of a language, the first one counts.

    Args:
        items: all questions.
        donors: languages that donors may be in; all if empty.
    """
    by_cluster: dict[str, list[Item]] = {}
    for item in items:
        by_cluster.setdefault(item.cluster, []).append(item)
    found: dict[str, dict[str, str]] = {}
    for item in items:
        others = found.setdefault(item.id, {})
        for one in by_cluster[item.cluster]:
            wanted = not donors or one.aux_lang in donors
            if one.aux and wanted and one.aux_lang != item.aux_lang and one.lang == item.lang:
                others.setdefault(one.aux_lang, one.id)
    return found


def matched(accuracy: Mapping[str, float], langs: Sequence[str]) -> dict[str, Matched]:
    """For each language the one in which the unmodified model is most nearly as accurate."""
    found: dict[str, Matched] = {}
    for lang in langs:
        own = accuracy.get(lang)
        others = {name: value for name, value in accuracy.items() if name != lang}
        if own is None or not others:
            found[lang] = Matched(lang, own)
            continue
        nearest = min(others, key=lambda name: (abs(others[name] - own), name))
        found[lang] = Matched(lang, own, nearest, others[nearest])
    return found


PRESET = "preset"
"""The condition with the pair of the paper, beside one that was chosen."""


@dataclass(frozen=True)
class _Form:
    """All questions in one form.

    Attributes:
        name: of the form.
        asked: id of a question -> the question in this form, of all questions.
        able: the questions to be answered, as they are.
        vectors: of their donor prompts.
    """

    name: str
    asked: Mapping[str, Item]
    able: Sequence[Item]
    vectors: DonorVectors

    @cached_property
    def readable(self) -> list[Item]:
        """Questions whose own counterpart can be read."""
        return [item for item in self.able if self.vectors.has(item)]


class ConditionMaker:
    """The conditions of one pair: unmodified, own donor, controls, in every form."""

    def __init__(
        self, bench: Bench, asked: CultureSettings, spec: TransplantSpec, *, beside: bool
    ) -> None:
        """Take what is common to all.

        Args:
            bench: the model, with all questions.
            asked: the settings.
            spec: the pair, with layers counted from 0.
            beside: whether the pair of the paper is answered, too.
        """
        self._bench, self._asked, self._spec, self._beside = bench, asked, spec, beside
        self._opinions = all(item.shares is not None for item in bench.items)

    def every(self, test: Sequence[Item]) -> list[AskedCondition]:
        """Every condition in every form that it has, of some questions.

        Controls are answered in the form that is asked, and of opinions with the options in the
        other order, since opinions are averaged over orders.
        """
        found: list[AskedCondition] = []
        for form in self._forms(test):
            found += self._own(form)
            if form.name == PLAIN or (form.name == REVERSED and self._opinions):
                found += [*self._donors(form), *self._controls(form), *self._prompts(form)]
                found += self._preset(form)
        return [one for one in found if one.items]

    def _forms(self, test: Sequence[Item]) -> Iterator[_Form]:
        every = {item.id: forms(item, quick=self._asked["quick"]) for item in self._bench.items}
        for name in dict.fromkeys(form for some in every.values() for form in some):
            asked = {item: some[name] for item, some in every.items() if name in some}
            able = [item for item in test if item.id in asked]
            vectors = DonorVectors(self._bench, list(asked.values()), self._spec)
            yield _Form(name, asked, able, vectors)

    def _made(
        self,
        name: str,
        form: _Form,
        items: Sequence[Item],
        edit: Edit | None = None,
        spec: TransplantSpec | None = None,
    ) -> AskedCondition:
        """A condition; without a pair, rows of all pairs are the same ones."""
        spec = self._spec if spec is None and edit is not None else spec
        identity = ["culture", name, form.name, None if spec is None else asdict(spec)]
        key = RowKey("condition", condition=canonical_hash(identity))
        way = CultureWay(form.asked, edit, plain=form.name == PLAIN)
        return AskedCondition(name, form.name, key, list(items), way)

    def _own(self, form: _Form) -> Iterator[AskedCondition]:
        """Unmodified, and with the donor of the own country."""
        spec = self._spec
        own = self._made(TRANSPLANT, form, form.readable, form.vectors.from_aux(_own_id))
        if form.name == PLAIN:  # unmodified answers are there
            own.key = RowKey("none", None, spec.component, spec.source, spec.target)
        else:
            yield self._made(VANILLA, form, form.able)
        yield own

    def _donors(self, form: _Form) -> Iterator[AskedCondition]:
        """Donors of other countries, by their languages."""
        others = siblings(list(form.asked.values()), self._asked["donors"])
        for lang in dict.fromkeys(lang for some in others.values() for lang in some):
            edit = form.vectors.from_aux(_donor_of(others, lang))
            there = [
                one
                for one in form.able
                if lang in others[one.id] and form.vectors.readable(others[one.id][lang])
            ]
            yield self._made(f"{DONOR}{lang}", form, there, edit)

    def _controls(self, form: _Form) -> Iterator[AskedCondition]:
        """Donors of the same language and of another question, and noise."""
        vectors = form.vectors
        drawn = {item.id: vectors.another(item, self._asked["seed"]) for item in form.able}
        with_another = [item for item in form.able if drawn[item.id] is not None]
        shuffled = vectors.from_aux(lambda item: str(drawn[item.id]))
        yield self._made("same-language", form, form.able, vectors.from_paraphrase())
        yield self._made("shuffled", form, with_another, shuffled)
        yield self._made("noise", form, form.readable, vectors.noise())

    def _preset(self, form: _Form) -> Iterator[AskedCondition]:
        """The pair of the paper, beside one that was chosen."""
        if self._beside:
            every = self._bench.vectors(self._bench.items)
            spec = TransplantWay(self._bench, every, PRESETS["culture"]).spec
            vectors = DonorVectors(self._bench, list(form.asked.values()), spec)
            yield self._made(PRESET, form, form.readable, vectors.from_aux(_own_id), spec)

    def _prompts(self, form: _Form) -> Iterator[AskedCondition]:
        """Only a sentence before the question: answer as somebody of the country."""
        named = [item for item in form.able if country_of(item.strata)]
        for name, local in (("prompt-en", False), ("prompt-x", True)):
            one = self._made(name, form, named)
            one.way = CultureWay(
                {
                    item.id: as_person(
                        form.asked[item.id],
                        country_of(item.strata),
                        item.aux_lang if local else item.lang,
                        1,
                    )
                    for item in named
                },
                plain=False,
            )
            yield one


def _own_id(item: Item) -> str:
    return item.id


def _donor_of(others: Mapping[str, Mapping[str, str]], lang: str) -> Callable[[Item], str]:
    return lambda item: others[item.id][lang]
