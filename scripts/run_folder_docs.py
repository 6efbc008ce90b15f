"""Writes docs/run-folder.md: the tables from the schema in the code, run.json from the list below.

`make docs` runs this; a test fails when the file in the repository is not what it would write.
"""

from __future__ import annotations

from pathlib import Path

from crosslatent.store.schema import (
    ATTRIBUTION,
    FAILURES,
    ITEMS,
    KEY,
    ROWS,
    SAMPLES,
    SCHEMA_VERSION,
    describe,
)

TARGET = Path(__file__).parent.parent / "docs" / "run-folder.md"

RUN_JSON = {
    "schema_version": "version of this layout; a reader refuses one that it does not know",
    "created": "when the run was started, ISO 8601, UTC",
    "command": "the command line that started it",
    "versions": "crosslatent, Python and the libraries that decide a result",
    "model": "name as given, type, hashes of config, weights and tokenizer, dtype, number of "
    "parameters, `n_layers`, `d_model`",
    "task": "name, title, description, direction, type, hash of its items, the rule that "
    "judged (the task's, or `likelihood_mean` where nothing was decoded), and the metric that "
    "counts",
    "spec": "the resolved arguments: components, pairs, controls, control_splits, seed, "
    "max_new_tokens, score_only, score_options, strength, positions, exact, chat, attribution, "
    "samples",
    "requested": "the arguments as they were given",
    "headline": "a comparison that was declared before any row existed; null if there was none",
    "status": "how the run stands: items, rows, failures, seconds; `paths`: rows and seconds by "
    "the way they were computed; `near_ties`: rows whose smallest margin is below `margin` logits, "
    "and how many of them were settled",
}

TEXT = """# The run folder

<!-- Written by `make docs` from src/crosslatent/store/schema.py. Change it there. -->

A sweep writes a folder; everything after it (export, report, your own analysis) reads that folder
and needs no model.

```text
RUN/
  run.json                  what was asked, what it resolved to, software, model, task, status
  items.parquet             the questions
  rows/part-00000.parquet   the answers; every part holds whole items
  failures.parquet          items that could not be run, if there are any
  attribution.parquet       pairs ranked by gradients, with --attribution
  samples.parquet           answers sampled without transplant, with --samples
```

Every file is written under a temporary name and renamed, so a file that is there is whole. The same
`crosslatent sweep` command again runs only the items that no part holds. It refuses a folder whose
`schema_version`, `model`, `task`, `spec` or `headline` differ from what is asked now; `--new`
starts over.

Read it with DuckDB, pandas, polars or anything else that knows Parquet:

```python
from crosslatent.store import RunReader

with RunReader("RUN").connect() as db:  # views: rows, items, failures
    db.sql("SELECT control, component, avg(correct::int) FROM rows GROUP BY ALL").show()
```

This is schema version {version}.

## run.json

| key | meaning |
| --- | --- |
{run_json}

## rows/part-*.parquet

One row per generated answer. Key: {key}.

{rows}

## items.parquet

One row per item that the run covers, failed ones included.

{items}

## failures.parquet

{failures}

## attribution.parquet

One row per item, component and pair of layers, whichever pairs were run.

{attribution}

## samples.parquet

One row per sampled answer of the unmodified model to main.

{samples}
"""


def render() -> str:
    """The content of docs/run-folder.md."""
    return TEXT.format(
        version=SCHEMA_VERSION,
        run_json="\n".join(f"| `{key}` | {meaning} |" for key, meaning in RUN_JSON.items()),
        key=", ".join(f"`{name}`" for name in KEY),
        rows=describe(ROWS),
        items=describe(ITEMS),
        failures=describe(FAILURES),
        attribution=describe(ATTRIBUTION),
        samples=describe(SAMPLES),
    )


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    print(TARGET)
