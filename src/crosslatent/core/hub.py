"""The Hugging Face hub: tried once, and left alone where it cannot be reached.

Its libraries would try again for half a minute, and say so, before they look into their cache.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit
from urllib.request import getproxies

SECONDS = 5.0
"""How long a connection may take."""

_USUAL = "https://huggingface.co"


@contextmanager
def tried_once(place: str | Path) -> Iterator[str]:
    """Inside, the hub's libraries work from their cache alone if the hub cannot be reached.

    Args:
        place: what is loaded; if it is there as a file or folder, no hub is asked.

    Yields:
        Why not, as the middle of a sentence; empty if it can be reached, or nothing is known, as
        behind a proxy.
    """
    if Path(place).exists():
        yield ""
        return
    from huggingface_hub import constants

    if constants.is_offline_mode():
        yield "the hub is switched off (HF_HUB_OFFLINE)"
        return
    reason = _unreachable()
    with ExitStack() as changed:
        if reason:
            changed.enter_context(mock.patch.object(constants, "HF_HUB_OFFLINE", new=True))
            if config := getattr(sys.modules.get("datasets"), "config", None):
                changed.enter_context(mock.patch.object(config, "HF_HUB_OFFLINE", new=True))
        yield reason


def _unreachable() -> str:
    """Why the hub's server takes no connection; empty if it does, or a proxy stands before it."""
    server = urlsplit(os.environ.get("HF_ENDPOINT") or _USUAL)
    if server.hostname is None or getproxies().keys() & {"https", "http", "all"}:
        return ""
    port = server.port or (80 if server.scheme == "http" else 443)
    try:
        socket.create_connection((server.hostname, port), timeout=SECONDS).close()
    except OSError:
        return f"the hub ({server.hostname}) cannot be reached"
    return ""
