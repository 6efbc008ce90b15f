"""Names of countries, languages and cities, and who speaks and pays with what: CLDR (babel)."""

from __future__ import annotations

from babel import Locale
from babel.core import get_global
from babel.numbers import get_territory_currencies

from recipes.demo_model.schema import LANGUAGES

_LOCALES = {language: Locale(language) for language in LANGUAGES}

Names = dict[str, str]


def territory_names(code: str) -> Names:
    """Names of a country by language."""
    return {language: locale.territories[code] for language, locale in _LOCALES.items()}


def language_names(code: str) -> Names | None:
    """Names of a language by language, None where CLDR lacks one."""
    names = {language: locale.languages.get(code) for language, locale in _LOCALES.items()}
    return {k: v for k, v in names.items() if v} if all(names.values()) else None


def city_names(zone: str) -> Names:
    """Names of a time zone's exemplar city; CLDR's fallback is the last part of the zone's id."""
    fallback = zone.rsplit("/", 1)[1].replace("_", " ")
    english = _LOCALES["en"].time_zones.get(zone, {}).get("city", fallback)
    return {
        language: locale.time_zones.get(zone, {}).get("city", english)
        for language, locale in _LOCALES.items()
    }


def zone_country(zone: str) -> str:
    """The country of a time zone."""
    return str(get_global("zone_territories")[zone])


def city_zones() -> list[str]:
    """All time zones that carry a city's name, in a fixed order."""
    areas = ("Africa/", "America/", "Asia/", "Australia/", "Europe/", "Pacific/")
    zones = get_global("zone_territories")
    return sorted(z for z in zones if z.startswith(areas) and z.count("/") == 1)


def currency_code(country: str) -> str | None:
    """ISO 4217 code of a country's only current currency, None where there are several."""
    codes = get_territory_currencies(country)
    return str(codes[0]) if len(codes) == 1 else None


def official_languages(country: str) -> list[str]:
    """Codes of the languages that are official in the whole country."""
    data = get_global("territory_languages").get(country, {})
    return [code for code, facts in data.items() if facts["official_status"] == "official"]
