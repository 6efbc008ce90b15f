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
from recipes.demo_model.schema import ENGLISH, LANGUAGES, Entity, Fact, Relation

TABLES = Path(__file__).parent / "world"
MAX_NAME = 26
"""Longer names (of currencies, mostly) are left out: prompts stay short."""


def _yaml(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((TABLES / name).read_text(encoding="utf-8")))


@cache
def texts() -> dict[str, Any]:
    """The words of `relations.yaml`."""
    return _yaml("relations.yaml")


ORDERED = ("city_continent", "language_family", "food_kind")
"""Relations whose options each language counts in an order of its own."""


def relation(name: str, group: str = "general") -> Relation:
    """One relation of `relations.yaml`, its options in the listed order or in that of `ORDERED`."""
    data = texts()[group][name]
    options = data.get("options", {})
    orders = _orders(name, list(options)) if name in ORDERED else {}
    return Relation(name, data["kind"], data["title"], data["ask"], options, orders)


def _orders(name: str, options: list[str]) -> dict[str, tuple[str, ...]]:
    """Orders in which no option is where English has it."""
    orders = {}
    for language in LANGUAGES[1:]:
        rng, order = Random(f"order {name} {language}"), options
        while any(map(str.__eq__, order, options)):
            order = rng.sample(options, len(options))
        orders[language] = tuple(order)
    return orders


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
    pairs = [(_entity("city", zone, names), continent[code]) for zone, names, code in _cities()]
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
    """All fixed-option facts that are the same everywhere."""
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
    """Facts with a name as the answer: capitals, and countries of cities without a code fact."""
    data = _yaml("countries.yaml")
    capital, country = (relation(name, "open") for name in ("country_capital", "city_country"))
    facts: list[Fact] = []
    for zone in data["capital_zones"]:
        code = cldr.zone_country(zone)
        entity = _entity("country", code, cldr.territory_names(code))
        if entity is not None:
            facts.append(Fact(capital, entity, zone, cldr.city_names(zone)))
    asked = {fact.entity.key for fact in code_facts()}
    for zone, names, code in _cities():
        entity = _entity("city", zone, names)
        answers = cldr.territory_names(code)
        if entity is not None and zone not in asked and max(map(len, answers.values())) <= MAX_NAME:
            facts.append(Fact(country, entity, code, answers))
    return tuple(facts)


def _cities() -> Iterator[tuple[str, dict[str, str], str]]:
    """Zone, names and country of cities.

    Left out are those that are called as a country or a town of culture is, or as in English in
    Hindi.
    """
    data = _yaml("countries.yaml")
    codes = _inverse(data["continent"])
    countries = {cldr.territory_names(code)["en"] for code in codes}
    towns = {fact.entity.names["en"] for fact in culture_facts()}
    for zone in cldr.city_zones():
        names, code = cldr.city_names(zone), cldr.zone_country(zone)
        clear = names["en"] not in countries | towns and "," not in "".join(names.values())
        if (
            code in codes
            and zone not in data["not_cities"]
            and clear
            and names["hi"] != names["en"]
        ):
            yield zone, names, code


CODE_FACTS = 100
"""Of each relation whose answers are codes."""


@cache
def code_facts() -> tuple[Fact, ...]:
    """Facts whose answer is a code: currencies, countries of cities, languages.

    Of each relation those with the most names that are spelled otherwise than in English.
    """
    data = _yaml("countries.yaml")
    codes = list(_inverse(data["continent"]))
    clear = [code for code in codes if code not in data["currency_unclear"]]
    tongues = sorted(
        {code for groups in _yaml("languages.yaml").values() for code in _inverse(groups)}
    )
    pools: dict[str, list[tuple[str, dict[str, str] | None, str | None]]] = {
        "currency_code": [(c, cldr.territory_names(c), cldr.currency_code(c)) for c in clear],
        "country_code": list(_cities()),
        "language_code": [(code, cldr.language_names(code), code) for code in tongues],
    }
    return tuple(fact for name, pool in pools.items() for fact in _code_facts(name, pool))


def _code_facts(
    name: str, pool: Iterable[tuple[str, dict[str, str] | None, str | None]]
) -> list[Fact]:
    rel = relation(name, "codes")
    facts = []
    for key, names, code in pool:
        entity = _entity(rel.kind, key, names) if names and code else None
        if entity is not None:
            facts.append(Fact(rel, entity, str(code), dict.fromkeys(LANGUAGES, f"({code})")))
    facts.sort(key=lambda fact: (_same_spelling(fact.entity), fact.entity.key))
    return facts[:CODE_FACTS]


def codes() -> list[str]:
    """All codes that are answers."""
    return sorted({fact.gold(ENGLISH) for fact in code_facts()})


def _same_spelling(entity: Entity) -> int:
    """In how many languages a name is spelled as in English."""
    return sum(name == entity.names[ENGLISH] for name in entity.names.values())


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


def question_word(language: str) -> str:
    """`Question`, `Swali`: the word before the question in the other wording."""
    return str(texts()["question_word"][language])


def answer_word(language: str) -> str:
    """`Answer`, `Jibu`: the word before the final colon."""
    return str(texts()["answer_word"][language])
