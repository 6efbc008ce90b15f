"""Writes docs/run-folder.md: the tables from the schema in the code, run.json from the list below.

`make docs` runs this; a test fails when the file in the repository is not what it would write.
"""

from __future__ import annotations

from pathlib import Path

from crosslatent.runs.schema import (
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
    "environment": "where the model ran and how its sums round: kinds of device, implementation of "
    "attention, precision of float32 products, and the environment variables that change these",
    "model": "name as given, commit, type, hashes of config, weights and tokenizer, dtype, number "
    "of parameters, `n_layers`, `d_model`",
    "task": "name, title, description, direction, type, hash of its items, `repeats` (notes on "
    "prompts that are asked twice), the rule that "
    "judged (the task's, or `likelihood_mean` where nothing was decoded), and the metric that "
    "counts",
    "spec": "the resolved arguments: components, pairs, controls, control_splits, seed, "
    "max_new_tokens, score_only, score_options, strength, positions, exact, chat, attribution, "
    "samples, keep_vectors; chat_args, if the chat template gets arguments; donor_strata, if "
    "the control `shuffled` is run; conditions, if there are any: id (the hash in rows), name, "
    "what each is, and its interventions; other_controls: those that are not this package's",
    "inputs": "`prompts`: hash of the token ids of all prompts that can be run, of paraphrases and "
    "scored options too; `ends`: token ids that end an answer; `modules`: what --modules says; "
    "`clock`: the time that the chat template gets whenever it asks for it (null without a chat); "
    "`since`: in a run of an earlier version, which lacks all this, the session from which it is "
    "known",
    "requested": "the arguments as they were given; `exploratory` among them lists what was "
    "defined after rows of the task had been seen (`strata`, `strict_room`, `surer`, "
    "`pass_at_k`, `spelling`), and reports label it so; all of it for the shipped demo tasks",
    "headline": "a comparison that was declared before any row existed; null if there was none",
    "status": "what has been run: items, rows, failures, seconds; `paths`: rows and seconds by "
    "the way they were computed; `respelled`: items with an answer that has other tokens in one "
    "text with its prompt, or needs the unknown one; `near_ties`: rows whose smallest margin "
    "is below `margin` logits, and how many of them were settled; `not_finite`: rows with a logit "
    "that was no number",
    "sessions": "the calls that wrote to this run: `number` (part names begin with it), `started`, "
    "`command`, `versions`, `environment`, `host`",
}

TEXT = """# The run folder

<!-- Written by `make docs` from src/crosslatent/runs/schema.py. Change it there. -->

A sweep writes a folder; everything after it (export, report, your own analysis) reads that folder
and needs no model.

```text
RUN/
  run.json                     what was asked, what it resolved to, software, model, task, status
  items.parquet                the questions
  rows/part-*.parquet          the answers
  failures.parquet             items that could not be run, if there are any
  attribution/part-*.parquet   pairs ranked by gradients, with --attribution
  samples/part-*.parquet       answers sampled without transplant, with --samples
  vectors/part-*.safetensors   captured vectors, with --keep-vectors
  README.md                    names these tables for Hugging Face datasets
```

RUN is a folder of this machine, or a URL of anything that fsspec knows, such as `s3://bucket/run`.

Every file is written under a temporary name, synced and renamed (behind a URL: sent in one piece),
so a file that is there is whole, and a process that is killed loses what it had not written yet.
The same `crosslatent sweep` command again does only the rows that no part holds. It refuses a
folder whose `schema_version`, `model`, `task`, `spec`, `inputs` or `headline` differ from what is
asked now, and says what differs; `--new` starts over. While `--new` throws an earlier run away,
run.json has the key `clearing`.

When a sweep opens a folder it reads every part wholly. One that is truncated or damaged (each part
has a checksum of the whole file), or that is another table, is renamed to `*.damaged`; one that
holds a row that another part holds, too, to `*.doubled` (in the other tables: an item that another
part holds). Before a sweep ends, parts that processes of earlier sessions have written since it
began are renamed to `*.late`. What is missing then is made again. Only `--new` removes what was
renamed.

One process writes to a folder at a time: `.lock` and `.owner.json` say which, and behind URLs
`.lease.json`, which another process takes over when it has not been renewed for five minutes, or at
once where its owner ran on the same machine (since the same boot, and in the same container) and is
gone.

Read it with DuckDB, pandas, polars, datasets or anything else that knows Parquet:

```python
from crosslatent import Run

run = Run("RUN")  # or a URL
frame = run.to_pandas()  # or run.to_polars()

from crosslatent.runs import RunReader

with RunReader("RUN").connect() as db:  # views: rows, items, failures
    db.sql("SELECT control, component, avg(correct::int) FROM rows GROUP BY ALL").show()

from datasets import load_dataset

rows = load_dataset("RUN", split="train")
items = load_dataset("RUN", "items", split="train")
rows = load_dataset("parquet", data_files="RUN/rows/*.parquet", split="train")
rows = load_dataset("parquet", data_dir="RUN/rows", split="train")
```

**Folders from others.** Nothing in a run folder is executed when it is read: tables are Parquet,
vectors safetensors, the rest JSON. It is checked when it is opened, and what no sweep writes is
refused in one sentence. What a model answered is shown as text in reports and terminals. `export`
gives it letter by letter: opened in a spreadsheet, a cell that begins with `=`, `+`, `-` or `@`
may be computed, so import such columns as text (the tables of a report put an apostrophe before
them). Do not resume a sweep inside a folder that you do not trust.

Columns of type "list of key, value" are mappings. DuckDB's views above give them as `MAP`.

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

## attribution/part-*.parquet

One row per item, component and pair of layers, whichever pairs were run.

{attribution}

## samples/part-*.parquet

One row per sampled answer of the unmodified model to main.

{samples}

## vectors/part-*.safetensors

One tensor a component, named by it: items, layers, (positions, if several,) width, in float32:
what was captured from aux at its last tokens. The metadata `items` has their ids, in this order,
as a JSON list. `Run("RUN").vectors("ffn")` reads all parts as item -> array.
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
