"""What pip would upgrade of what crosslatent names: `python scripts/newer.py`.

Extras are included, torch (which stays as pinned) and what is not installed here are not; what
crosslatent does not name itself follows from what it names. The exit code is 0 if nothing is newer.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version


def installed() -> dict[str, str]:
    """Versions here of the packages that crosslatent names, in any extra."""
    needed = requires("crosslatent") or []
    names = {re.split(r"[ \[<>=!~;]", one, maxsplit=1)[0].lower() for one in needed}
    versions = {}
    for name in sorted(names - {"crosslatent", "torch"}):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def main() -> int:
    """Print what is newer; how many packages it is."""
    here = installed()
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "-qq", "--no-deps", "--upgrade"]
    report = subprocess.check_output([*command, "--report", "-", *here])  # noqa: S603 - our names
    upgrades = [each["metadata"] for each in json.loads(report)["install"]]
    for each in upgrades:
        print(f"{each['name']} {here.get(each['name'].lower(), '')} -> {each['version']}")
    return len(upgrades)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
