"""The facts of the world, read from the tables in `world/` and from CLDR.

Everything here is true outside the recipe as well: disputed or changing facts are left
out by the tables, and a name that CLDR lacks in one language drops the entity.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from recipes.demo_model import cldr
from recipes.demo_model.schema import LANGUAGES, Entity, Fact, Relation

TABLES = Path(__file__).parent / "world"
MAX_NAME = 26
"""Longer names (of currencies, mostly) are left out: prompts stay short."""


def _yaml(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((TABLES / name).read_text(encoding="utf-8")))


@cache
def texts() -> dict[str, Any]:
    """The words of `relations.yaml`."""
    return _yaml("relations.yaml")


def relation(name: str, group: str = "general") -> Relation:
    """One relation of `relations.yaml`, its options in the listed order."""
    data = texts()[group][name]
    return Relation(name, data["kind"], data["title"], data["ask"], data.get("options", {}))


def _entity(kind: str, key: str, names: dict[str, str]) -> Entity | None:
    """An entity, or None where a name is too long to stay in a short prompt."""
    return Entity(kind, key, names) if max(map(len, names.values())) <= MAX_NAME else None


def _facts(name: str, entities: Iterable[tuple[Entity | None, str]]) -> Iterator[Fact]:
    rel = relation(name)
    for entity, answer in entities:
        if entity is not None and answer in rel.options:
            yield Fact(rel, entity, answer, {})


def _table_facts(table: str, kind: str, columns: dict[str, str]) -> Iterator[Fact]:
    """Facts of a TSV table: `columns` maps a relation to the column that answers it."""
    with (TABLES / table).open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    for name, column in columns.items():
        pairs = [
            (_entity(kind, row["en"], {lang: row[lang] for lang in LANGUAGES}), row[column])
            for row in rows
        ]
        yield from _facts(name, pairs)


def _inverse(groups: dict[str, list[str]]) -> dict[str, str]:
    return {code: group for group, codes in groups.items() for code in codes}


def _official(code: str, options: Iterable[str]) -> str:
    """The only option that is official in the country; empty where none or several are."""
    official = [x for x in cldr.official_languages(code) if x in options]
    return official[0] if len(official) == 1 else ""


def _country_facts() -> Iterator[Fact]:
    data = _yaml("countries.yaml")
    continent = _inverse(data["continent"])
    codes = [*continent, *data["two_continents"]]
    entity = {code: _entity("country", code, cldr.territory_names(code)) for code in codes}
    money = _inverse(data["currency"])
    tongues = relation("country_official").options

    def answers(values: dict[str, str]) -> list[tuple[Entity | None, str]]:
        return [(entity[code], value) for code, value in values.items()]

    yield from _facts("country_continent", answers(continent))
    currency = {
        code: money.get(cldr.currency_code(code) or "", "")
        for code in codes
        if code not in data["currency_unclear"]
    }
    yield from _facts("country_currency", answers(currency))
    official = {c: _official(c, tongues) for c in codes if c not in data["official_unclear"]}
    yield from _facts("country_official", answers(official))


def _city_facts() -> Iterator[Fact]:
    data = _yaml("countries.yaml")
    continent = _inverse(data["continent"])
    countries = {cldr.territory_names(code)["en"] for code in continent}
    towns = {fact.entity.names["en"] for fact in culture_facts()}
    pairs = []
    for zone in cldr.city_zones():
        names = cldr.city_names(zone)
        known = cldr.zone_country(zone) in continent and zone not in data["not_cities"]
        clear = names["en"] not in countries | towns and "," not in "".join(names.values())
        if known and clear and names["hi"] != names["en"]:
            pairs.append((_entity("city", zone, names), continent[cldr.zone_country(zone)]))
    yield from _facts("city_continent", pairs)


def _language_facts() -> Iterator[Fact]:
    data = _yaml("languages.yaml")
    for column in ("family", "script"):
        pairs = []
        for code, group in _inverse(data[column]).items():
            names = cldr.language_names(code)
            pairs.append((_entity("language", code, names) if names else None, group))
        yield from _facts(f"language_{column}", pairs)


def _thinned(facts: Iterable[Fact], limits: dict[str, int]) -> Iterator[Fact]:
    """At most `limits[relation]` facts per answer, the same ones every time."""
    groups: dict[tuple[str, str], list[Fact]] = {}
    for fact in facts:
        groups.setdefault((fact.relation.name, fact.answer), []).append(fact)
    for (name, answer), group in groups.items():
        keep = limits.get(name, len(group))
        Random(f"thin {name} {answer}").shuffle(group)
        yield from group[:keep]


@cache
def general_facts() -> tuple[Fact, ...]:
    """All fixed-option facts that are taught in English."""
    limits = _yaml("countries.yaml")["facts_per_answer"]
    facts = (
        *_country_facts(),
        *_city_facts(),
        *_language_facts(),
        *_table_facts("animals.tsv", "animal", {"animal_class": "class", "animal_legs": "legs"}),
        *_table_facts("foods.tsv", "food", {"food_kind": "kind"}),
    )
    return tuple(_thinned(facts, limits))


@cache
def open_facts() -> tuple[Fact, ...]:
    """Facts with a free text as the answer: capitals."""
    capital = relation("country_capital", "open")
    facts: list[Fact] = []
    for zone in _yaml("countries.yaml")["capital_zones"]:
        code = cldr.zone_country(zone)
        entity = _entity("country", code, cldr.territory_names(code))
        if entity is not None:
            facts.append(Fact(capital, entity, zone, cldr.city_names(zone)))
    return tuple(facts)


def _culture_relation(name: str, local: str, keys: list[str], ask: dict[str, str]) -> Relation:
    data = texts()["culture"][name]
    options = {key: data["options"][key] for key in keys}
    return Relation(f"{name}_{local}", data["kind"], data["title"], ask, options)


def _culture(table: str, name: str) -> Iterator[Fact]:
    ask = texts()["culture"][name]["ask"]
    for local, groups in _yaml(table).items():
        kind = groups.pop("kind", None)
        rel = _culture_relation(name, local, list(groups), ask[kind] if kind else ask)
        for answer, words in groups.items():
            for word in words:
                english, _, native = word.partition("|")
                names = {"en": english, local: native or english}
                yield Fact(rel, Entity(f"{rel.kind}_{local}", english, names), answer, {}, local)


@cache
def culture_facts() -> tuple[Fact, ...]:
    """Facts of one language's area: taught there, asked in English."""
    return (
        *_culture("culture_places.yaml", "place"),
        *_culture("culture_things.yaml", "thing"),
    )


def kind_word(kind: str, language: str) -> str:
    """`Country`, `Nchi`: the word before the name in a prompt."""
    return str(texts()["kinds"][kind.split("_", maxsplit=1)[0]][language])


def answer_word(language: str) -> str:
    """`Answer`, `Jibu`: the word before the final colon."""
    return str(texts()["answer_word"][language])
