"""README.md of a run folder: a dataset card that lists the folder's tables.

With it, ``datasets.load_dataset("RUN")`` gives the rows, and ``load_dataset("RUN", "items")`` the
questions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crosslatent.runs.files import write_bytes
from crosslatent.runs.run_path import names_in, reaching, read_bytes
from crosslatent.runs.schema import FILE_TABLES, PART_TABLES, ROWS_TABLE

if TYPE_CHECKING:
    from crosslatent.runs.run_path import RunPath

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
