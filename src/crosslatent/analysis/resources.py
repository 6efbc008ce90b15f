"""How well a language is provided with data: the six classes of Joshi et al.

Source: Joshi, Santy, Budhiraja, Bali and Choudhury 2020, "The State and Fate of Linguistic
Diversity and Inclusion in the NLP World" (ACL 2020, arXiv 2004.09095) and its list of languages,
lang2tax. Class 0 has next to no data, labelled or not; class 5 has the most of both. The classes
are of 2020, and of languages, not of any one model's training data.
"""

from __future__ import annotations

from collections.abc import Mapping

from crosslatent.core.languages import primary

SOURCE = "Joshi et al. 2020 (arXiv 2004.09095)"

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
