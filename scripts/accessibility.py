"""Runs axe-core on pages in headless Chromium: `python -m scripts.accessibility PAGE...`.

Needs Chromium, and npm once, for axe-core. Pages are looked at in light and in dark, with every
fold open. The exit status is 1 if a page has a violation.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

AXE = "axe-core@4.10.3"
FOLDER = Path(__file__).parents[1] / ".axe"
MODES = {"light": (), "dark": ("--blink-settings=preferredColorScheme=0",)}
_DRIVER = """
<script>
addEventListener("load", function () {
  document.querySelectorAll("details").forEach(function (one) { one.open = true; });
  setTimeout(function () {
    axe.run(document).then(function (found) {
      var made = document.createElement("pre");
      made.id = "axe-found";
      made.textContent = JSON.stringify(found.violations.map(function (one) {
        return { id: one.id, where: one.nodes.map(function (node) { return node.html; }) };
      }));
      document.body.appendChild(made);
    });
  }, 1000);
});
</script>
"""


def script() -> str:
    """The text of axe-core, fetched on first use.

    Raises:
        subprocess.CalledProcessError: npm cannot fetch it.
    """
    file = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
    if not file.exists():
        command = ["npm", "install", "--prefix", str(FOLDER), "--no-save", AXE]
        subprocess.run(command, check=True)  # noqa: S603 - npm, to fetch what is pinned here
    return file.read_text(encoding="utf-8")


def violations(page: Path, mode: str) -> list[dict[str, Any]]:
    """What axe-core finds on a page.

    Args:
        page: beside its data.
        mode: of `MODES`.

    Raises:
        RuntimeError: there is no Chromium, or the page gave no result.
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise RuntimeError("No Chromium is installed: install it, for example from Debian.")
    driven = page.with_name(f".axe-{page.name}")
    text = page.read_text(encoding="utf-8")
    driven.write_text(f"{text}<script>{script()}</script>{_DRIVER}", encoding="utf-8")
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000")
    command = [chromium, *options, *MODES[mode], "--dump-dom", driven.resolve().as_uri()]
    try:
        done = subprocess.run(  # noqa: S603 - Chromium, on a page of ours
            command, check=True, capture_output=True, text=True, timeout=300
        )
    finally:
        driven.unlink()
    found = re.search(r'<pre id="axe-found">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    if found is None:
        raise RuntimeError(f"{page} gave no result in {mode}.")
    result: list[dict[str, Any]] = json.loads(html.unescape(found[1]))
    return result


def main(pages: list[str]) -> int:
    """Print what is found on each page; 1 if anything is."""
    failed = False
    for page in map(Path, pages):
        for mode in MODES:
            found = violations(page, mode)
            failed |= bool(found)
            print(f"{page} ({mode}): {len(found)} violations")
            for one in found:
                print(f"  {one['id']}: {one['where'][:3]}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
