"""run.json: reading it, and refusing to go on with another run than the one that is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crosslatent.errors import RunFolderError
from crosslatent.foreign import parse_json, short
from crosslatent.store.contents import check_manifest
from crosslatent.store.differences import differences
from crosslatent.store.places import read_bytes, refusal, unreachable, why
from crosslatent.store.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from crosslatent.store.places import Place

MANIFEST = "run.json"
IDENTITY: Mapping[str, tuple[str, ...]] = {
    "schema_version": (),
    "model": ("name",),
    "task": ("title", "description", "repeats"),
    "spec": (),
    "headline": (),
}
"""The parts of run.json that must be equal for a run to be resumed, each with the fields in it that
only describe and may differ."""

CLEARING = "clearing"
"""In run.json while the tables of an earlier run are being thrown away."""

_ADVICE = "give another folder, or put back the file from a copy."


def read_manifest(place: Place) -> dict[str, Any]:
    """Content of a folder's run.json.

    Raises:
        RunFolderError: there is none, or it is not one of ours.
    """
    try:
        data = read_bytes(place / MANIFEST)
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{str(place)!r} is not a run folder (it has no {MANIFEST}): give the --out folder of "
            "a sweep."
        ) from error
    except unreachable() as error:
        raise refusal(f"Cannot read {str(place / MANIFEST)!r}", error, _ADVICE) from error
    return manifest_of(place, data)


def manifest_of(place: Place, data: bytes) -> dict[str, Any]:
    """What a folder's run.json says.

    Args:
        place: the folder, for the message.
        data: content of the file.

    Raises:
        RunFolderError: it is not one of ours.
    """
    try:
        manifest = parse_json(data)
    except ValueError as error:
        raise RunFolderError(
            f"Cannot read {str(place / MANIFEST)!r} ({short(why(error))}): {_ADVICE}"
        ) from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise RunFolderError(
            f"{str(place)!r} has schema version {short(repr(version))}, but this version of "
            f"crosslatent reads {SCHEMA_VERSION}: use the version that wrote it, or run its sweep "
            "again with --new."
        )
    check_manifest(manifest, place)
    return dict(manifest)


def ours_of(place: Place, data: bytes) -> dict[str, Any]:
    """What a run.json of any version of ours says, for a run that is to be thrown away.

    Args:
        place: the folder, for the message.
        data: content of the file.

    Raises:
        RunFolderError: no version of ours wrote it.
    """
    try:
        manifest = parse_json(data)
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or "schema_version" not in manifest:
        raise RunFolderError(
            f"The {MANIFEST} in {str(place)!r} is not one of ours, so nothing there is thrown "
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


def refuse_difference(place: Place, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Make sure that what is asked is the run that is there.

    Raises:
        RunFolderError: it is not; the sentence says what differs.
    """
    different = [
        difference
        for key in IDENTITY
        for difference in differences(key, _identity(there, key), _identity(asked, key))
    ]
    if different:
        raise RunFolderError(
            f"The run in {str(place)!r} was made with other arguments ({'; '.join(different)}): "
            "repeat them to resume, give another folder, or start over with --new."
        )


def _identity(manifest: Mapping[str, Any], key: str) -> Any:
    """One part of a manifest without the fields that only describe, as it reads from JSON."""
    part = json.loads(json.dumps(manifest.get(key)))
    if isinstance(part, dict):
        return {name: value for name, value in part.items() if name not in IDENTITY[key]}
    return part
