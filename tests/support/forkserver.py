"""A warm process that forks a child for every command line: `python -m support.forkserver`.

Importing takes seconds and a tiny sweep takes a fraction of one, so a test that kills a sweep again
and again would mostly kill imports. Requests and replies are lines of JSON:

    {"argv": [...], "out": FILE, "err": FILE, ...}   ->  {"pid": 7}
    {"poll": 7}                                      ->  {"status": null, or as of os.waitpid}
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn


def main() -> None:
    """Answer requests until the input ends; children that are left then are killed."""
    # A shell that starts tests in the background has Ctrl-C ignored, here and in every child.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints must not print into the replies
    _warm_up()
    _reply(channel, {"ready": os.getpid()})
    running: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            running.discard(pid)
            _reply(channel, {"status": status if pid else None})
            continue
        pid = os.fork()
        if pid == 0:
            _child(request)
        running.add(pid)
        _reply(channel, {"pid": pid})
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def _reply(channel: Any, data: dict[str, Any]) -> None:
    channel.write(json.dumps(data) + "\n")
    channel.flush()


def _warm_up() -> None:
    """Import what a sweep imports, and build what it builds once, without starting a thread."""
    import pandas as pd  # noqa: F401 - pyarrow imports it when it first makes a table
    import torch

    torch.set_num_threads(1)
    import support.disasters  # noqa: F401
    from crosslatent.cli.app import command
    from crosslatent.sweeps import run_sweep  # noqa: F401
    from support.rows import wrapped

    command()
    wrapped()
    with contextlib.suppress(ImportError):
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        get_checkpoint_conversion_mapping("llama")


def _child(request: dict[str, Any]) -> NoReturn:
    for name, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 99
    try:
        code = _run(request)
    except Exception:  # noqa: BLE001 - for the test to show
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(request: dict[str, Any]) -> int:
    from crosslatent.cli.app import entry
    from crosslatent.sweeps import run_sweep
    from support.disasters import Disaster

    run_sweep.__kwdefaults__["part_seconds"] = request["part_seconds"]
    if request["host"]:
        socket.gethostname = lambda: request["host"]
    if request["disaster"]:
        folder, record = Path(request["folder"]), Path(request["record"])
        Disaster(folder, record=record, **request["disaster"]).arm()
    if request["file_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"],) * 2)
    sys.argv = ["crosslatent", *request["argv"]]
    try:
        entry()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except Exception:  # noqa: BLE001 - as the interpreter does at the end
        sys.excepthook(*sys.exc_info())
        return 1


if __name__ == "__main__":
    main()
