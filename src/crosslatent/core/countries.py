"""Countries that tasks ask about: one table of names, languages and spellings in the data.

A spelling is found by exact match alone, never as a part of another text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from crosslatent.core.culture_data import culture_table
from crosslatent.core.languages import ENGLISH, same_language

OTHER_SAMPLE = ("(Non-national sample)", "(Old national sample)")
"""How spellings end of samples that do not stand for the whole country."""


@dataclass(frozen=True, slots=True)
class Country:
    """A country or region.

    Attributes:
        name: ours, in English.
        code: ISO 3166 (of a region within a country with a subdivision).
        languages: of its people, as far as tasks have them, the main one first (ISO 639).
        names: language -> its name in it.
        spellings: in the data of the tasks.
    """

    name: str
    code: str
    languages: tuple[str, ...]
    names: Mapping[str, str]
    spellings: tuple[str, ...] = ()


def country_of(spelling: str) -> Country | None:
    """The country with a name or spelling, exactly; None if none has it."""
    return _by_spelling().get(spelling)


def known_name(spelling: str) -> str | None:
    """Our name of a spelling; None if it is not known."""
    found = country_of(spelling)
    return None if found is None else found.name


def is_other_sample(spelling: str) -> bool:
    """Whether a spelling is of a sample that does not stand for the whole country."""
    return spelling.endswith(OTHER_SAMPLE)


def countries_of(language: str) -> list[Country]:
    """Countries with a main language: those of the group "same language"."""
    return [one for one in all_countries() if same_language(one.languages[0], language)]


def country_in(name: str, language: str) -> str:
    """Name of a country in a language; as it is given where that is not known."""
    found = country_of(name)
    if found is None or same_language(language, ENGLISH):
        return name if found is None else found.name
    return next((own for lang, own in found.names.items() if same_language(lang, language)), name)


def with_own_name(name: str) -> str:
    """A country with its name in its main language behind it, if that is another one."""
    found = country_of(name)
    own = None if found is None else found.names.get(found.languages[0])
    return name if own is None or own == name else f"{name} ({own})"


@lru_cache(maxsize=1)
def all_countries() -> tuple[Country, ...]:
    """The table, from ``data/culture/countries.yaml``."""
    every = culture_table("countries")
    return tuple(
        Country(
            name,
            one["code"],
            tuple(one["languages"]),
            dict(one.get("names", {})),
            tuple(one.get("spellings", ())),
        )
        for name, one in every.items()
    )


@lru_cache(maxsize=1)
def _by_spelling() -> Mapping[str, Country]:
    return {spelling: one for one in all_countries() for spelling in (one.name, *one.spellings)}
