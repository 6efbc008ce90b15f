"""What is known of languages: how far two of them are apart, and how much data one has.

Typological distance is that of the features of URIEL (Littell et al. 2017, doi
10.18653/v1/E17-2002), which joins WALS, SSWL, Ethnologue and PHOIBLE into 289 yes-or-no features of
syntax, phonology and sound inventory; URIEL+ (Khan et al. 2025, COLING) maintains them in the
package `urielplus`, which the extra ``distances`` installs. Only its data file is read, which is
plain arrays: importing the package would copy files into its own folder and change the logging of
the whole process.

How much data there is: the six classes of Joshi, Santy, Budhiraja, Bali and Choudhury 2020, "The
State and Fate of Linguistic Diversity and Inclusion in the NLP World" (ACL 2020, arXiv 2004.09095)
and its list of languages, lang2tax. Class 0 has next to no data, labelled or not; class 5 has the
most of both. The classes are of 2020, and of languages, not of any one model's training data.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosslatent.core.languages import primary, same_language
from crosslatent.stats import Floats

MISSING = (
    "No typological distances: they need the features of URIEL, which the extra "
    "'distances' installs."
)

LEAST_FEATURES = 50
"""Of 289; two languages with fewer known features in common are not compared."""

_FILE = Path("database") / "original_uriel" / "features.npz"

_MEMBERS = {
    "az": "azj", "fa": "pes", "fil": "tgl", "mg": "plt", "mn": "khk", "ms": "zsm", "no": "nob",
    "qu": "quz", "sq": "als", "sw": "swh", "uz": "uzn", "zh": "cmn",
}  # fmt: skip
"""Macrolanguages, and the member that is meant where a code says no more than that."""

_ENOUGH = 150
"""Features from which on a member is taken, and not the macrolanguage, which mixes its members."""


def available() -> bool:
    """Whether the features are installed."""
    return _folder() is not None


@lru_cache(maxsize=10_000)
def distance(first: str, second: str) -> float | None:
    """Angular distance of two languages' features, 0 (alike) to 1 (nothing in common).

    2 arccos(cosine) / pi over the features that are known of both, as in URIEL+; a feature holds if
    any of URIEL's sources says so.

    Args:
        first: ISO 639 code or BCP 47 tag.
        second: another one.

    Returns:
        None if the features are not installed, or too few are known of both languages; 0 for two
        regions or scripts of one language.
    """
    if not available():
        return None
    if same_language(first, second):
        return 0.0
    pair = [_features(code) for code in (first, second)]
    both = ~np.isnan(pair[0]) & ~np.isnan(pair[1])
    if both.sum() < LEAST_FEATURES:
        return None
    one, other = (features[both] for features in pair)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    if not lengths:
        return None
    return float(2 * np.arccos(np.clip(one @ other / lengths, -1, 1)) / np.pi)


def _folder() -> Path | None:
    """Where the package lies; finding it does not import it."""
    spec = find_spec("urielplus")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    return next((Path(place) for place in places if (Path(place) / _FILE).is_file()), None)


def _features(code: str) -> Floats:
    """The features of a language: 1, 0, or NaN where no source knows."""
    names, values = _table()
    codes = [name for name in _codes(code) if name in names]
    found = [values[np.flatnonzero(names == name)[0]] for name in codes]
    if not found:
        return np.full(values.shape[1], np.nan)
    known = [int((~np.isnan(features)).sum()) for features in found]
    best: Floats = found[0] if known[0] >= _ENOUGH else found[int(np.argmax(known))]
    return best


def _codes(code: str) -> list[str]:
    """Three-letter codes that URIEL may list a language under, the most specific one first."""
    from langcodes import Language

    language = primary(code)
    member = [_MEMBERS[language]] if language in _MEMBERS else []
    try:
        return [*member, Language.get(language).to_alpha3()]
    except (LookupError, ValueError):  # no such code, or no code at all
        return [*member, language]


@cache
def _table() -> tuple[NDArray[np.str_], Floats]:
    """Languages, and their features over all sources, shape (languages, features)."""
    folder = _folder()
    assert folder is not None
    with np.load(folder / _FILE, allow_pickle=False) as stored:
        sources = stored["data"].max(axis=2)  # -1 = not known
        return stored["langs"], np.where(sources < 0, np.nan, sources).astype(np.float64)


RESOURCES = "Joshi et al. 2020 (arXiv 2004.09095)"

_BY_CLASS: Mapping[int, str] = {
    5: "ar de en es fr ja zh",
    4: "ca cs eu fa fi hi hr hu it ko nl pl pt ru sr sv tr vi",
    3: "af be bg bn bs da el et gl he id ka kk la lt lv ms ro sk sl ta th tl uk ur uz",
    2: "am ga ha ht is lo mr mt pa sa sw ti tn wo xh yo zu",
    1: "as az cy eo gu hy ig jv km kn ky lb mg mi mk ml mn my ne no ny or qu rw sn so sq su te tg",
    0: "si",
}
"""Languages of common evaluation data by their ISO 639-1 codes; one that is not here is unknown."""

_CLASSES = {code: number for number, codes in _BY_CLASS.items() for code in codes.split()}

_OTHER_NAMES = {"fil": "tl", "nb": "no", "nn": "no", "iw": "he"}


def resource_class(code: str) -> int | None:
    """Class of a language, 0 (least) to 5 (most); None if it is not known.

    Args:
        code: ISO 639 code or BCP 47 tag; regions and scripts count as their language.
    """
    language = primary(code)
    return _CLASSES.get(_OTHER_NAMES.get(language, language))
