"""Loading a tokenizer, and telling whether it is the one that its folder describes.

For some model types, `AutoTokenizer` builds a tokenizer from a class of transformers and takes no
more than the vocabulary from the folder's `tokenizer.json`: its rules of how texts are normalised
and cut into words are then the class's. A model that was trained with the folder's rules then reads
other tokens than it has learnt.
"""

from __future__ import annotations

import json
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils.hub import cached_file

from crosslatent.core.errors import ModelError
from crosslatent.core.untrusted import one_line, short

FILE = "tokenizer.json"
_CONFIG = "tokenizer_config.json"
_AS_IT_IS = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""What `tokenizer_class` says in a folder whose tokenizer.json is to be used as it is."""
_PARTS = ("normalizer", "pre_tokenizer", "model", "post_processor", "decoder")
_ENDS = frozenset({"add_bos_token", "add_eos_token"})
_FROM_VOCABULARY = 400
"""Tokens of the vocabulary that are looked at as texts."""
_TEXTS = (
    "The capital of Kenya is Nairobi; it's 1,963 km away, isn't it?",
    "  two blanks,\ttabs\nand\n\nlines \n",
    "नमस्ते, केन्या की राजधानी क्या है? हिन्दी में १२३ उत्तर दें।",
    "কেনিয়ার রাজধানী কী? বাংলায় উত্তর দিন।",
    "கென்யாவின் தலைநகரம் எது?",
    "ఇది తెలుగు వాక్యం. ಕನ್ನಡ ವಾಕ್ಯ. മലയാളം വാക്യം.",
    "ما هي عاصمة كينيا؟ الإجابة: نيروبي ١٢٣",
    "מהי בירת קניה? תשובה:",
    "Столица Кении — город Найроби. Съешь ещё этих булок.",
    "Ποια είναι η πρωτεύουσα της Κένυας;",
    "肯尼亚的首都是哪里?内罗毕。繁體中文也可以。",
    "ケニアの首都はどこですか。カタカナ、ひらがな、漢字",
    "케냐의 수도는 어디입니까? 나이로비입니다.",
    "เมืองหลวงของเคนยาคืออะไร",
    "የኬንያ ዋና ከተማ ማን ናት? ናይሮቢ።",
    "ქართული ენა, հայերեն լեզու",
    "မြန်မာဘာသာ ភាសាខ្មែរ ພາສາລາວ བོད་སྐད།",
    "Mji mkuu wa Kenya ni upi? Ng'ombe, Yorùbá: ọ̀rọ̀, Tiếng Việt: Thủ đô",
    unicodedata.normalize("NFD", "café naïve Ångström Łódź straße İstanbul"),
    "ﬁne Ｆｕｌｌ ｗｉｄｔｈ ①②③ ½ ™ 🙂👩‍👩‍👧 \u200bzero\u00adwidth",
    "def f(x):\n    return {'a': x ** 2, \"b\": [1, 2]}  # https://example.org/?q=1",
    "CamelCase snake_case don't WE'LL (1) [2] <3> 100% $5 ... --",
)
"""Texts in many scripts, with what tokenizers are known to treat differently."""


class TokenizerWarning(UserWarning):
    """A tokenizer is not the one of its folder's tokenizer.json."""


def load_tokenizer(
    path: str | Path, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or of a name on the hub, as `AutoTokenizer` makes it.

    Warns where that reads texts otherwise than the folder's tokenizer.json. If the folder names a
    class that is that file and nothing else (`PreTrainedTokenizerFast`), the file is used in its
    place: `AutoTokenizer` does not follow that for every model type.

    Raises:
        OSError, ValueError, KeyError, ImportError: from transformers, where there is no tokenizer.
        ModelError: the class that transformers takes cannot read what the folder holds.
    """
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        made: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, **options)
    except (OSError, ValueError, KeyError, ImportError):
        raise
    except Exception as error:  # tokenizers raises nothing finer, and classes stumble anyhow
        raise ModelError(
            f"The tokenizer of {str(path)!r} cannot be made ({one_line(error)}): if its {FILE} is "
            f'right, put "tokenizer_class": "PreTrainedTokenizerFast" into its {_CONFIG}.'
        ) from error
    file = _file_of(path, FILE, revision)
    found = None if file is None else difference(made, file)
    if found is None:
        return made
    about = f"AutoTokenizer makes a {type(made).__name__} for {str(path)!r}, which {found}"
    if _read(_file_of(path, _CONFIG, revision)).get("tokenizer_class") in _AS_IT_IS:
        warnings.warn(
            f"{about}: the file is used, as its {_CONFIG} says, but programs that call "
            "AutoTokenizer read other tokens.",
            TokenizerWarning,
            stacklevel=2,
        )
        reader: Any = PreTrainedTokenizerFast
        own: PreTrainedTokenizerBase = reader.from_pretrained(path, revision=revision)
        return own
    warnings.warn(
        f"{about}: if the model was trained with the file as it is, put "
        f'"tokenizer_class": "PreTrainedTokenizerFast" into its {_CONFIG}.',
        TokenizerWarning,
        stacklevel=2,
    )
    return made


def warn_of_another(tokenizer: PreTrainedTokenizerBase) -> None:
    """Warn if a tokenizer is not that of the folder that it comes from, where there is one."""
    found = difference_from_source(tokenizer)
    if found is not None:
        warnings.warn(
            f"The {type(tokenizer).__name__} of {str(tokenizer.name_or_path)!r} {found}: if the "
            "model was trained with the file as it is, give what "
            "PreTrainedTokenizerFast.from_pretrained makes of it.",
            TokenizerWarning,
            stacklevel=3,
        )


def difference_from_source(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """`difference` from the folder, or the copy of the hub's, that a tokenizer comes from.

    None where nothing of it is here.
    """
    file = _file_of(str(tokenizer.name_or_path or ""), FILE, None, local=True)
    return None if file is None else difference(tokenizer, file)


def difference(tokenizer: PreTrainedTokenizerBase, file: Path) -> str | None:
    """How a tokenizer reads texts otherwise than a tokenizer.json; None if it does not.

    Looked at are texts in many scripts and tokens of the file's own vocabulary. Padding, truncation
    and added tokens are the user's; special tokens around a text are compared unless the folder's
    tokenizer_config.json speaks of them.

    Returns:
        What a sentence goes on with after the name of the tokenizer.
    """
    try:
        right = Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - tokenizers raises nothing finer
        return f"cannot be compared with its {FILE} ({one_line(error)})"
    right.no_padding()
    right.no_truncation()
    if getattr(right.model, "dropout", None):
        right.model.dropout = None
    texts = [*_TEXTS, *_words(right)]
    try:
        said = _first(tokenizer, right, texts, special=False)
        # A config may set the special tokens around a text itself.
        if said is None and _ENDS.isdisjoint(_read(file.with_name(_CONFIG))):
            said = _first(tokenizer, right, texts[:3], special=True)
    except Exception as error:  # noqa: BLE001 - a tokenizer class may raise anything
        return f"cannot read texts that its {FILE} reads ({one_line(error)})"
    if said is None:
        return None
    text, ids, expected = said
    own = getattr(tokenizer, "backend_tokenizer", None)
    parts = [part.replace("_", "-") for part in _PARTS if _part(own, part) != _part(right, part)]
    which = f" (another {' and '.join(parts)})" if parts else ""
    return (
        f"is not the tokenizer of its {FILE}{which}: it reads {short(text)!r} as "
        f"{len(ids)} tokens, {_shown(ids)}, where the file gives {len(expected)}, "
        f"{_shown(expected)}"
    )


def _first(
    tokenizer: PreTrainedTokenizerBase, right: Tokenizer, texts: list[str], *, special: bool
) -> tuple[str, list[int], list[int]] | None:
    """The first text that is read differently, with both readings."""
    found: list[list[int]] = tokenizer(texts, add_special_tokens=special, verbose=False)[
        "input_ids"
    ]
    expected = right.encode_batch(texts, add_special_tokens=special)
    # What was added to one of them (with resize_token_embeddings, say) is no other reading.
    added = set(tokenizer.get_added_vocab()) - set(right.get_vocab())
    for text, ids, encoding in zip(texts, found, expected, strict=True):
        if list(ids) != encoding.ids and not any(token in text for token in added):
            return text, list(ids), encoding.ids
    return None


def _words(right: Tokenizer) -> Iterator[str]:
    """Tokens of a vocabulary as texts, evenly spread over it."""
    size = right.get_vocab_size()
    for token in range(0, size, max(1, size // _FROM_VOCABULARY)):
        text = right.decode([token])
        if text.strip() and "\ufffd" not in text:
            yield f"{text} {text}"


def _part(backend: Tokenizer | None, part: str) -> Any:
    """A part of a tokenizer as data, but for its vocabulary."""
    value = getattr(backend, part, None)
    if value is None or part == "model":
        return value and type(value).__name__
    return json.loads(value.__getstate__())


def _shown(ids: Iterable[int], most: int = 8) -> str:
    listed = list(ids)
    return f"{listed[:most]}".replace("]", ", ...]") if len(listed) > most else f"{listed}"


def _read(config: Path | None) -> dict[str, Any]:
    try:
        said = json.loads(config.read_text(encoding="utf-8")) if config is not None else {}
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _file_of(
    path: str | Path, name: str, revision: str | None, *, local: bool = False
) -> Path | None:
    """A file of a folder, or of a name on the hub; None if there is none."""
    if not str(path):
        return None
    if Path(path).is_dir():
        file = Path(path) / name
        return file if file.is_file() else None
    try:
        found = cached_file(str(path), name, revision=revision, local_files_only=local)
    except (OSError, ValueError):
        return None
    return None if found is None else Path(found)
