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
    "schema_version": "version of this layout; a reader refuses versions that it does not know",
    "created": "start of the run, ISO 8601, UTC",
    "command": "the command line that started it",
    "versions": "versions of crosslatent, Python and the libraries that affect results",
    "environment": "what affects rounding: kinds of device, implementation of attention, "
    "precision of float32 products, and the environment variables that change these",
    "model": "name as given, commit, type, hashes of config, weights and tokenizer, dtype, number "
    "of parameters, `n_layers`, `d_model`",
    "task": "name, title, description, direction, type, hash of its items, `repeats` (notes on "
    "prompts that occur twice), the rule that judged (the task's, or `likelihood_mean` if nothing "
    "was decoded), and the main metric",
    "spec": "the resolved arguments: components, pairs, controls, control_splits, seed, "
    "max_new_tokens, score_only, score_options, strength, positions, exact, chat, attribution, "
    "samples, keep_vectors; chat_args, if the chat template gets arguments; donor_strata, if "
    "the control `shuffled` is run; conditions, if there are any: id (the hash in rows), name, "
    "kind and settings, and its interventions; other_controls: controls of other packages",
    "planned": "rows that the whole run has, as the first call planned it; missing in runs of "
    "earlier versions",
    "inputs": "`prompts`: hash of the token ids of all prompts that can be run, including "
    "paraphrases and scored options; `ends`: token ids that end an answer; `modules`: the value of "
    "--modules; `clock`: the time that the chat template gets whenever it asks for it (null "
    "without a chat); `since`: in a run that an earlier version began without `inputs`, the "
    "session from which they are known",
    "requested": "the arguments as given; `exploratory` lists analyses that were defined after "
    "rows of the task had been seen (`strata`, `strict_room`, `surer`, `pass_at_k`, `spelling`), "
    "and reports label them so",
    "headline": "a pre-registered comparison, declared before any row existed; null without one",
    "status": "what has been run: items, rows, failures, seconds; `paths`: rows and seconds by "
    "the path that computed them; `respelled`: items with an answer that has other tokens when "
    "tokenized together with its prompt, or that needs the unknown token; `near_ties`: rows whose "
    "smallest margin is below `margin` logits, and how many of them were settled; `not_finite`: "
    "rows with a logit that was not finite",
    "sessions": "the calls that wrote to this run: `number` (part names begin with it), `started`, "
    "`command`, `versions`, `environment`, `host`",
}

TEXT = """# The run folder

<!-- Written by `make docs` from src/crosslatent/runs/schema.py. Change it there. -->

A sweep writes a folder. Everything after the sweep (export, report, your own analysis) reads that
folder and needs no model.

```text
RUN/
  run.json                     arguments, resolved settings, software, model, task, status
  items.parquet                the questions
  rows/part-*.parquet          the answers
  failures.parquet             items that could not be run, if there are any
  attribution/part-*.parquet   pairs ranked by gradients, with --attribution
  samples/part-*.parquet       answers sampled without transplant, with --samples
  vectors/part-*.safetensors   captured vectors, with --keep-vectors
  README.md                    names these tables for Hugging Face datasets
```

RUN is a local folder, or a URL that fsspec supports, such as `s3://bucket/run`.

Every write is atomic: a file gets a temporary name, is synced and then renamed (on a URL, it is
uploaded in one piece). Every visible file is therefore complete, and a killed process loses only
what it had not written yet. Repeating the same `crosslatent sweep` command computes only the rows
that no part contains. It refuses a folder whose `schema_version`, `model`, `task`, `spec`,
`inputs` or `headline` differ from the current request, and reports the difference; `--new` starts
over. While `--new` deletes an earlier run, run.json has the key `clearing`.

When a sweep opens a folder, it reads every part completely. It renames parts that it rejects:

- to `*.damaged`, if the part is truncated, damaged (each part has a checksum of the whole file) or
  another table;
- to `*.doubled`, if another part also contains one of its rows (in the other tables: one of its
  items);
- to `*.late`, before the sweep ends, if a process of an earlier session wrote the part after this
  sweep had begun.

The sweep then recomputes the missing rows. Only `--new` deletes renamed parts.

One process at a time writes to a folder. `.lock` and `.owner.json` identify it; on URLs,
`.lease.json` does. Another process takes the lease over if it has not been renewed for five
minutes, or at once if its owner ran on the same machine (since the same boot, and in the same
container) and has ended.

Read the tables with DuckDB, pandas, polars, datasets or anything else that reads Parquet:

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

**Untrusted folders.** Reading a run folder executes nothing in it: tables are Parquet, vectors
safetensors, the rest JSON. The folder is validated when it is opened, and content that no sweep
writes is refused with an error. Reports and terminals show model answers as text. `export` writes
them unchanged: a spreadsheet may evaluate a cell that begins with `=`, `+`, `-` or `@`, so import
such columns as text (the tables of a report put an apostrophe before them). Do not resume a sweep
inside a folder that you do not trust.

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

One row per item of the run, including failed ones.

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

One tensor per component, with the component's name: items, layers, (positions, if several,) width,
in float32. It holds the vectors captured at the last tokens of aux. The metadata `items` has their
ids, in this order, as a JSON list. `Run("RUN").vectors("ffn")` reads all parts as item -> array.
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
