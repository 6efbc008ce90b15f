"""What another environment has in other versions: `python scripts/newer.py PYTHON`.

Of what crosslatent names itself, extras included, since the rest follows from these. The exit code
is 0 if nothing differs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version

_LISTED = """
import json
from importlib.metadata import distributions
print(json.dumps({one.name.lower(): one.version for one in distributions()}))
"""


def named() -> list[str]:
    """The packages that crosslatent names, in any extra."""
    found = {
        re.split(r"[ \[<>=!~;]", one, maxsplit=1)[0].lower() for one in requires("crosslatent")
    }
    return sorted(found - {"crosslatent"})


def main(other: str) -> int:
    """Print what differs."""
    listed = subprocess.check_output([other, "-c", _LISTED])  # noqa: S603 - our own environment
    there = json.loads(listed)
    differing = 0
    for name in named():
        try:
            here = version(name)
        except PackageNotFoundError:
            continue
        if there.get(name, here) != here:
            print(f"{name} {here} -> {there[name]}")
            differing += 1
    return differing


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1]), 1))
