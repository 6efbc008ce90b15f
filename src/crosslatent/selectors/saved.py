"""A fitted selector on disk, and the questions that it is given when it is used again.

JSON for people, safetensors for numbers, and no pickle.

``FILE`` holds everything but arrays; the arrays stand beside it in a file of the same name that
ends in ``.safetensors``. Boosted trees are not saved: scikit-learn can only pickle them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as dump_arrays

from crosslatent.core.errors import RunFolderError, UsageError
from crosslatent.core.seen import Seen, among
from crosslatent.core.untrusted import parse_json
from crosslatent.runs.files import whole_file
from crosslatent.selectors.base import FIXED, SELECTORS, FittedSelector, FixedPairs
from crosslatent.selectors.kinds.untransplanted import FittedPlain

FORMAT = "crosslatent-selector"
VERSION = 1
_RULES_OF_OPTIONS = ("option", "option_or_label")


@dataclass(frozen=True, slots=True)
class SavedSelector:
    """A fitted selector with where it comes from.

    Attributes:
        name: of the selector.
        about: what it does.
        fitted: what chooses.
        fitted_on: run, model, task, spec, split and number of items that it was fitted on.
        seen: which questions these were; None if that is not known.
    """

    name: str
    about: str
    fitted: FittedSelector
    fitted_on: Mapping[str, Any]
    seen: Seen | None = None


def fitted_on(manifest: Mapping[str, Any], run: str, split: str, items: int) -> dict[str, Any]:
    """What a selector was fitted on, from a run's manifest: names, hashes, settings."""
    spec, task = manifest.get("spec", {}), manifest.get("task", {})
    model = {**manifest.get("model", {})}
    if model.get("name"):
        model["name"] = Path(str(model["name"])).name  # a path may be private
    settings = ("components", "positions", "strength", "max_new_tokens", "score_options", "chat")
    return {
        "run": run,
        "split": split,
        "items": items,
        "model": model,
        "task": {name: task.get(name) for name in ("name", "direction", "rule", "hash")},
        "spec": {name: spec.get(name) for name in settings}
        | ({"chat_args": spec["chat_args"]} if spec.get("chat_args") else {}),
        "versions": dict(manifest.get("versions") or {}),
    }


def save(selector: SavedSelector, file: Path) -> list[Path]:
    """Write a fitted selector.

    Args:
        selector: what to write.
        file: the JSON file; arrays go beside it.

    Returns:
        The files written.

    Raises:
        UsageError: it cannot be saved without pickle, or nothing registered could restore it.
        RunFolderError: a file cannot be written; then neither is.
    """
    check_place(file)
    state = selector.fitted.state()
    if state is None:
        raise UsageError(
            f"The selector {selector.name!r} cannot be saved: what it has learned would need "
            "pickle, which can run code when it is read. Save another one, such as "
            "learned-logistic-8."
        )
    if state.kind not in (FIXED, *SELECTORS):
        raise UsageError(
            f"The selector {selector.name!r} cannot be saved: the kind of its state is "
            f"{state.kind!r}, but the name under which it is registered belongs there."
        )
    arrays = {name: np.ascontiguousarray(values) for name, values in state.arrays.items()}
    packed = dump_arrays(arrays) if arrays else b""
    tensors = _tensors_of(file)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": selector.name,
        "about": selector.about,
        "kind": state.kind,
        "fitted": _finite(state.plain),
        "tensors": tensors.name if arrays else None,
        "tensors_sha256": hashlib.sha256(packed).hexdigest() if arrays else None,
        "fitted_on": dict(selector.fitted_on),
        "seen": None if selector.seen is None else selector.seen.to_plain(),
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"Cannot make the folder of {str(file)!r} ({error.strerror or error}): give a file in "
            "a folder that can be written."
        ) from error
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    files = {file: text.encode()} | ({tensors: packed} if arrays else {})
    _write_all(files)
    return list(files)


def check_place(file: Path) -> None:
    """Refuse a place where a selector cannot be saved, before anything is computed.

    Raises:
        RunFolderError: one of its two files is a folder.
    """
    for path in (file, _tensors_of(file)):
        if path.is_dir():
            raise RunFolderError(
                f"Cannot save the selector to {str(path)!r}, which is a folder: give the name of a "
                "file, such as chosen.json."
            )


def _tensors_of(file: Path) -> Path:
    return file.with_name(f"{file.name.removesuffix('.json')}.safetensors")


def _write_all(files: Mapping[Path, bytes]) -> None:
    """Write all files or none: what stood there before comes back if one fails.

    Raises:
        RunFolderError: one cannot be written.
    """
    before = {path: path.read_bytes() if path.is_file() else None for path in files}
    try:
        with ExitStack() as stack:
            # All are written under other names before the first gets its own.
            for path, content in files.items():
                stack.enter_context(whole_file(path)).write_bytes(content)
    except RunFolderError:
        for path, old in before.items():
            _put_back(path, old)
        raise


def _put_back(path: Path, old: bytes | None) -> None:
    if path.is_dir() or (path.read_bytes() if path.is_file() else None) == old:
        return
    if old is None:
        path.unlink()
    else:
        path.write_bytes(old)


def load(file: Path) -> SavedSelector:
    """Read what `save` wrote; the name may lack ``.json``.

    Raises:
        UsageError: a file is not there, is none of ours, or does not belong to the other.
    """
    if not file.is_file() and (named := Path(f"{file}.json")).is_file():
        file = named
    content = _json(file)
    version = content.get("version")
    if content.get("format") != FORMAT or version != VERSION:
        raise UsageError(
            f"{str(file)!r} has the format {content.get('format')!r}, version {version!r}, but "
            f"{FORMAT!r}, version {VERSION}, belongs there: give the --save file of "
            "`crosslatent select`."
        )
    try:
        kind, arrays = content["kind"], _arrays(file, content)
        if kind != FIXED and kind not in SELECTORS:
            raise UsageError(
                f"{str(file)!r} is no complete selector: its kind is {kind!r}, which is not "
                "installed here: install the package that it is from, or use one of "
                f"{', '.join([FIXED, *SELECTORS])}."
            )
        owner = FixedPairs if kind == FIXED else SELECTORS[kind]
        fitted = owner.restored(content["fitted"], arrays)
        # Selectors of older versions do not say which questions they were fitted on.
        record = content.get("seen")
        seen = None if record is None else Seen.from_plain(record)
        found = SavedSelector(content["name"], content["about"], fitted, content["fitted_on"], seen)
        _check(found)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UsageError(
            f"{str(file)!r} is no complete selector ({type(error).__name__}: {error}): save it "
            "again with `crosslatent select --save`."
        ) from error
    return found


def _check(selector: SavedSelector) -> None:
    """Refuse what only an edit by hand can have made.

    Raises:
        ValueError: names or settings are of another kind, or pairs are none of the model's.
    """
    origin: Any = selector.fitted_on
    whole: Mapping[str, Any] = origin if isinstance(origin, Mapping) else {"model": [origin]}
    parts = [whole.get(name) or {} for name in ("model", "task", "spec")]
    if not all(isinstance(part, Mapping) for part in parts):
        raise ValueError("fitted_on, and model, task and spec in it, must be objects")
    if not all(isinstance(text, str) for text in (selector.name, selector.about)):
        raise ValueError("name and about must be text")
    if not math.isfinite(selector.fitted.cost):
        raise ValueError("cost must be a number")
    _check_pairs(selector, parts[0].get("n_layers"))


def _check_pairs(selector: SavedSelector, blocks: int | None) -> None:
    """ValueError if there are no pairs, or a layer is none of the model's, if it is known."""
    pairs = selector.fitted.pairs
    if not pairs and not isinstance(selector.fitted, FittedPlain):
        raise ValueError("it has no pairs to choose among")
    layers = [layer for pair in pairs for layer in (pair.source, pair.target)]
    wrong = [layer for layer in layers if layer < 0 or (blocks is not None and layer >= blocks)]
    if wrong:
        last = "" if blocks is None else f" to {blocks - 1}"
        raise ValueError(f"the layer {wrong[0]} is none of 0{last}")


def check_model(selector: SavedSelector, blocks: int) -> None:
    """Refuse a model that the selector's pairs do not fit.

    Args:
        selector: the selector.
        blocks: of the model.

    Raises:
        UsageError: the selector was fitted on another number, or lacks a layer of some pair.
    """
    fitted_blocks = (selector.fitted_on.get("model") or {}).get("n_layers")
    if fitted_blocks is not None and fitted_blocks != blocks:
        raise UsageError(
            f"The selector {selector.name!r} was fitted on a model with {fitted_blocks} blocks, "
            f"but this one has {blocks}: fit one on this model with `crosslatent select --save`."
        )
    try:
        _check_pairs(selector, blocks)
    except ValueError as error:
        raise UsageError(
            f"The selector {selector.name!r} does not fit this model of {blocks} blocks ({error}): "
            "fit one on it with `crosslatent select --save`."
        ) from error


def other_model(selector: SavedSelector, identity: Mapping[str, Any]) -> str | None:
    """A sentence if a model is another than the one that a selector was fitted on.

    Args:
        selector: the selector; older ones do not say which model that was.
        identity: of the model; see `model.Model.identity`. A type of numbers of its own makes no
            other model.
    """
    fitted = selector.fitted_on.get("model") or {}
    names = ["config_hash", "tokenizer_hash"]
    names += ["weights_hash"] if fitted.get("dtype") == identity.get("dtype") else []
    differ = [n for n in names if n in fitted and fitted[n] != identity.get(n)]
    if not differ:
        return None
    parts = ", ".join(name.removesuffix("_hash") for name in differ)
    return (
        f"The selector {selector.name!r} was fitted on another model "
        f"({fitted.get('name') or 'unnamed'}; other {parts})"
    )


def unlike_fitted(selector: SavedSelector, lang: str, options: Sequence[str] | None) -> list[str]:
    """How a question differs from those that the selector was fitted on, in sentences.

    Args:
        selector: the selector.
        lang: the language that distinguishes questions.
        options: what the answer may be; None for an open question.
    """
    rule = (selector.fitted_on.get("task") or {}).get("rule")
    sentences = []
    if selector.fitted.reads != "nothing" and options is None and rule in _RULES_OF_OPTIONS:
        sentences.append(
            "The selector was fitted on questions with options, and this one has none: its "
            "confidence is over the vocabulary instead."
        )
    languages = getattr(selector.fitted, "languages", ())
    if languages and lang not in languages:
        sentences.append(
            f"The selector was fitted on {', '.join(languages)}, and this question is in {lang!r}."
        )
    return sentences


def was_fitted_on(selector: SavedSelector, text_keys: Iterable[int]) -> bool | None:
    """Whether the selector was fitted on one of these texts; None if that is not known.

    Args:
        selector: the selector.
        text_keys: of the texts (`tasks.task.text_key`).
    """
    if selector.seen is None:
        return None
    return bool(among(list(text_keys), selector.seen.texts).any())


def _json(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"Cannot read the selector {str(file)!r} ({error}): give the --save file of "
            "`crosslatent select`."
        ) from error
    return content if isinstance(content, dict) else {}


def _arrays(file: Path, content: Mapping[str, Any]) -> Mapping[str, Any]:
    if content["tensors"] is None:
        return {}
    # Only the last part of the name counts, so that a selector cannot point outside its folder.
    tensors = file.with_name(Path(content["tensors"]).name)
    try:
        packed = tensors.read_bytes()
        if hashlib.sha256(packed).hexdigest() != content["tensors_sha256"]:
            raise UsageError(
                f"{str(tensors)!r} does not belong to {file.name!r} (another checksum): save the "
                "selector again, or copy both files together."
            )
        return dict(load_arrays(packed))
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"Cannot read {str(tensors)!r} ({error}): the selector's two files belong together."
        ) from error


def _finite(value: Any) -> Any:
    """Plain data without numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
