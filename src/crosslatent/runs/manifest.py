"""run.json: reading it, and refusing to resume a run with other arguments; README.md beside it.

The README.md is a dataset card that lists the folder's tables: ``datasets.load_dataset("RUN")``
gives the rows, and ``load_dataset("RUN", "items")`` the questions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from crosslatent.core.errors import RunFolderError
from crosslatent.core.specs import check_time
from crosslatent.core.untrusted import parse_json, short
from crosslatent.runs.contents import check_manifest
from crosslatent.runs.files import write_bytes
from crosslatent.runs.run_path import (
    RunPath,
    names_in,
    reaching,
    read_bytes,
    refusal,
    unreachable,
    why,
)
from crosslatent.runs.schema import FILE_TABLES, PART_TABLES, ROWS_TABLE, SCHEMA_VERSION

MANIFEST = "run.json"
IDENTITY: Mapping[str, tuple[str, ...]] = {
    "schema_version": (),
    "model": ("name",),
    "task": ("title", "description", "repeats"),
    "spec": (),
    "inputs": ("clock", "since"),
    "headline": (),
}
"""The parts of run.json that must be equal for a run to be resumed, each with the fields in it that
only describe and may differ."""

INPUTS = "inputs"
"""In run.json what the model reads, in token ids, and where answers end. Runs of earlier versions
lack it."""

CLEARING = "clearing"
"""In run.json while the tables of an earlier run are being thrown away."""

_ADVICE = "give another folder, or put back the file from a copy."


def read_manifest(location: RunPath) -> dict[str, Any]:
    """Content of a folder's run.json.

    Raises:
        RunFolderError: there is none, or it is not one of ours.
    """
    data = _content(location)
    if data is None:
        raise RunFolderError(
            f"{str(location)!r} is not a run folder (it has no {MANIFEST}): give the --out folder "
            "of a sweep."
        )
    return manifest_of(location, data)


def _content(location: RunPath) -> bytes | None:
    try:
        return read_bytes(location / MANIFEST)
    except FileNotFoundError:
        return None
    except unreachable() as error:
        raise refusal(f"Cannot read {str(location / MANIFEST)!r}", error, _ADVICE) from error


def manifest_of(location: RunPath, data: bytes) -> dict[str, Any]:
    """What the run.json of a folder says, from its content.

    Raises:
        RunFolderError: it is not one of ours.
    """
    try:
        manifest = parse_json(data)
    except ValueError as error:
        raise RunFolderError(
            f"Cannot read {str(location / MANIFEST)!r} ({short(why(error))}): {_ADVICE}"
        ) from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise RunFolderError(
            f"{str(location)!r} has schema version {short(repr(version))}, but this version of "
            f"crosslatent reads {SCHEMA_VERSION}: use the version that wrote it, or run its sweep "
            "again with --new."
        )
    check_manifest(manifest, location)
    return dict(manifest)


def ours_of(location: RunPath, data: bytes) -> dict[str, Any]:
    """What a run.json of any version of ours says, for a run that is to be thrown away.

    Raises:
        RunFolderError: no version of ours wrote it.
    """
    try:
        manifest = parse_json(data)
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or "schema_version" not in manifest:
        raise RunFolderError(
            f"The {MANIFEST} in {str(location)!r} is not one of ours, so nothing there is thrown "
            "away: give an empty or new folder."
        )
    return manifest


def sessions_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The calls that wrote to a run so far, first to last."""
    sessions = manifest.get("sessions")
    listed = sessions if isinstance(sessions, list) else []
    return [one for one in listed if isinstance(one, dict) and isinstance(one.get("number"), int)]


def last_session(manifest: Mapping[str, Any]) -> int:
    """The number of the last of them; 0 if there was none."""
    return max((session["number"] for session in sessions_of(manifest)), default=0)


def refuse_difference(
    location: RunPath, there: Mapping[str, Any], asked: Mapping[str, Any]
) -> None:
    """Make sure that what is asked is the run that is there.

    Raises:
        RunFolderError: it is not; the sentence says what differs.
    """
    known = [key for key in IDENTITY if key != INPUTS or key in there]
    different = [
        difference
        for key in known
        for difference in differences(key, _identity(there, key), _identity(asked, key))
    ]
    if different:
        raise RunFolderError(
            f"The run in {str(location)!r} was made with other arguments ({'; '.join(different)}): "
            "repeat them to resume, give another folder, or start over with --new."
        )


def clock_of(location: RunPath) -> str | None:
    """The time that a run passes to its chat template; None if there is no run.

    For a run that does not record it, the time at which the run was made.

    Raises:
        RunFolderError: its run.json cannot be read.
    """
    data = _content(location)
    if data is None:
        return None
    there = manifest_of(location, data)
    inputs = there.get(INPUTS)
    if inputs is not None:
        clock: str | None = inputs.get("clock")
        return clock
    made = there.get("created")
    return None if made is None else check_time(made).astimezone().isoformat(timespec="seconds")


def notes_of(there: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What a user should know of resuming a run: what does not tell runs apart, but differs."""
    found = []
    if INPUTS in asked and INPUTS not in there:
        found.append(
            "the run was begun by a version that did not record the token ids of its prompts: "
            "whether these are the same now is not known"
        )
    last = next(reversed(sessions_of(there)), there)
    changed = [
        f"{name} {before} there, {now} now"
        for part in ("versions", "environment")
        for name, before, now in _changes(last.get(part), asked.get(part))
    ]
    if changed:
        found.append(
            f"the run goes on with other software or settings ({'; '.join(changed)}): rows may "
            "differ in near-ties; its sessions in run.json say which were made with what"
        )
    return found


def _changes(there: Any, asked: Any) -> list[tuple[str, Any, Any]]:
    if not isinstance(there, dict) or not isinstance(asked, dict):
        return []
    names = sorted({*there, *asked})
    pairs = [(name, there.get(name), asked.get(name)) for name in names]
    return [(name, before, now) for name, before, now in pairs if before != now]


def _identity(manifest: Mapping[str, Any], key: str) -> Any:
    """One part of a manifest without the fields that only describe, as it reads from JSON."""
    part = json.loads(json.dumps(manifest.get(key)))
    if isinstance(part, dict):
        return {name: value for name, value in part.items() if name not in IDENTITY[key]}
    return part


_LONG: Final = 60
"""Characters above which a value is shortened."""

_HASHES: Final = {
    "config_hash": "another configuration",
    "weights_hash": "other weights",
    "tokenizer_hash": "another tokenizer or chat template",
    "hash": "other questions",
    "prompts": "the prompts give other token ids",
}


def differences(name: str, there: Any, asked: Any) -> list[str]:
    """What differs between plain data that is there and asked for, one text for each value."""
    if there == asked:
        return []
    if isinstance(there, dict) and isinstance(asked, dict):
        keys = sorted({*there, *asked})
        return [d for k in keys for d in differences(f"{name}.{k}", there.get(k), asked.get(k))]
    said = _HASHES.get(name.rsplit(".", 1)[-1])
    if said is not None and isinstance(there, str) and isinstance(asked, str):
        return [f"{name}: {said} ({there} there, {asked} now)"]
    if isinstance(there, list) and isinstance(asked, list) and _is_long(there, asked):
        return [f"{name}: {_lists(there, asked)}"]
    return [f"{name}: {_short(there)} there, {_short(asked)} now"]


def _is_long(there: list[Any], asked: list[Any]) -> bool:
    return max(len(repr(there)), len(repr(asked))) > _LONG


def _lists(there: list[Any], asked: list[Any]) -> str:
    both = zip(there, asked, strict=False)
    at = next((at for at, (one, other) in enumerate(both) if one != other), None)
    if at is None:
        at = min(len(there), len(asked))
    first = [_short(values[at]) if at < len(values) else "none" for values in (there, asked)]
    return (
        f"{len(there):,} values there, {len(asked):,} now; the first that differs is number "
        f"{at + 1:,}, {first[0]} there, {first[1]} now"
    )


def _short(value: Any) -> str:
    text = repr(value)
    if len(text) <= _LONG:
        return text
    if isinstance(value, list | Mapping):
        few = json.dumps(value, ensure_ascii=False)[: _LONG // 2]
        return f"{few}... ({len(value):,} values)"
    return f"{text[:_LONG]}... ({len(str(value)):,} characters)"


CARD: Final = "README.md"

_SIGN: Final = "<!-- Written by crosslatent; changes are lost when the sweep runs again. -->"

_CONFIG: Final = """- config_name: {name}
  data_files:
  - split: train
    path: {path}
"""

_TEXT: Final = """
{sign}

# A sweep of crosslatent

`run.json` says what was asked, which model and which task, and how far the run has come. The tables
are Parquet files; docs/run-folder.md of crosslatent says what every column means.

```python
from datasets import load_dataset

rows = load_dataset("RUN", split="train")  # RUN: this folder
items = load_dataset("RUN", "items", split="train")
```

```python
from crosslatent import Run

frame = Run("RUN").to_pandas()  # or to_polars()
```
"""


def write_card(location: RunPath) -> None:
    """Write or renew a folder's card; a README.md that somebody else wrote is left alone.

    Raises:
        RunFolderError: it cannot be written, or what is there cannot be reached.
    """
    file = location / CARD
    with reaching(location):
        there = _card_in(file)
        if there is not None and _SIGN not in there:
            return
        card = _card(location)
    if card != there:
        write_bytes(file, card.encode())


def _card_in(file: RunPath) -> str | None:
    try:
        return read_bytes(file).decode(errors="replace")
    except FileNotFoundError:
        return None


def _card(location: RunPath) -> str:
    found = names_in(location)
    configs = [
        _CONFIG.format(name=name, path=f"{name}/*.parquet")
        for name in PART_TABLES
        if name == ROWS_TABLE or name in found
    ]
    configs[0] += "  default: true\n"
    configs += [
        _CONFIG.format(name=name, path=f"{name}.parquet")
        for name in FILE_TABLES
        if f"{name}.parquet" in found
    ]
    return f"---\nconfigs:\n{''.join(configs)}---\n{_TEXT.format(sign=_SIGN)}"
