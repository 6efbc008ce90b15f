"""The typed schema of a run folder's tables: what one row means, column by column.

``docs/run-folder.md`` is generated from here (`make docs`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pyarrow as pa


def entries(key: pa.DataType, value: pa.DataType) -> pa.DataType:
    """The type of a mapping: a list of keys and values, which more tools read than Parquet maps."""
    return pa.list_(pa.struct([pa.field("key", key, nullable=False), pa.field("value", value)]))


def is_entries(kind: pa.DataType) -> bool:
    """Whether a column holds mappings as lists of keys and values."""
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    struct = kind.value_type
    return [struct.field(at).name for at in range(struct.num_fields)] == ["key", "value"]


def table_of(rows: Sequence[Mapping[str, Any]] | pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows as a table of `schema`.

    Args:
        rows: records, mappings as plain dicts, columns that are missing are null; or a table of the
            same columns.
        schema: the columns.
    """
    if isinstance(rows, pa.Table):
        return rows.select(schema.names).cast(schema)
    mappings = [column.name for column in schema if is_entries(column.type)]
    records = [_listed(row, mappings) for row in rows]
    return pa.Table.from_pylist(records, schema=schema)


def _listed(row: Mapping[str, Any], mappings: Sequence[str]) -> dict[str, Any]:
    record = dict(row)
    for name in mappings:
        value = record.get(name)
        if isinstance(value, Mapping):
            record[name] = [{"key": key, "value": held} for key, held in value.items()]
    return record


SCHEMA_VERSION = 5


def _column(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, metadata={"meaning": meaning})


def _required(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"meaning": meaning})


_STRING, _BOOL, _REAL = pa.string(), pa.bool_(), pa.float32()
_STRINGS, _REALS = pa.list_(_STRING), pa.list_(_REAL)
_LAYER, _COUNT = pa.int16(), pa.int32()
_TEXT = pa.dictionary(pa.int32(), pa.string())
"""Repeated short texts: stored once per part, read back as plain strings."""

ROWS = pa.schema(
    [
        _required("item", _STRING, "id of the item; see items.parquet"),
        _required("lang", _TEXT, "language of main, the prompt that is answered"),
        _column(
            "component", _TEXT, "attn, ffn, attn_residual, block or cross_attn; null for vanilla"
        ),
        _column("source", _LAYER, "source layer in the vector's run, from 0; null for vanilla"),
        _column("target", _LAYER, "target layer in main's run, from 0; null for vanilla"),
        _required(
            "control",
            _TEXT,
            "none = true transplant; vanilla = unmodified run over main; translate_test = "
            "unmodified run over aux; condition = interventions that are the same for all items; "
            "shuffled, noise, mean, self, paraphrase and others = controls",
        ),
        _column(
            "stratum",
            _TEXT,
            "of a shuffled row: same_answer (the donor's gold answer is the same option with the "
            "same label), same_symbol (the same option with another label), different_answer, or "
            "any (items without gold answers)",
        ),
        _column("donor", _STRING, "of a shuffled row: the item whose aux gave the vector"),
        _column(
            "condition",
            _TEXT,
            "of a row under a condition: the canonical hash of its interventions, see run.json "
            "(spec, conditions); null in all others",
        ),
        _required("output", _STRING, "generated text, special tokens left out"),
        _required("output_ids", pa.list_(pa.int32()), "new token ids, end token left out"),
        _column(
            "output_lang",
            _TEXT,
            "language that the output is in; null where it is too short to tell, or not sure",
        ),
        _column("prediction", _STRING, "the option that the output names; null if none"),
        _column("correct", _BOOL, "right under the task's rule; null without gold answer"),
        _column("correct_by_rule", entries(pa.string(), pa.bool_()), "right under each rule tried"),
        _column(
            "scores",
            entries(pa.string(), pa.float32()),
            "graded scores, 0 to 1, by metric; without those that do not fit the item, or that "
            "the row cannot tell",
        ),
        _column(
            "option_logprobs",
            _REALS,
            "log-probability (nats) of each option's first token after the prompt (with or "
            "without a blank before it) as the first generated token; null where two options "
            "share that token",
        ),
        _column(
            "gold_logprob",
            _REAL,
            "log-probability (nats) of the gold answer's first token as the first generated one; "
            "of several gold answers, that any of their first tokens comes; null without gold "
            "answer, or where another option shares that token",
        ),
        _column(
            "option_scores",
            _REALS,
            "log-probability (nats) of each whole option after the prompt, as the tokenizer "
            "writes it there (the likelier of its spellings with and without a blank before it); "
            "null unless scored",
        ),
        _column("option_means", _REALS, "the same, divided by the tokens of the option"),
        _column(
            "gold_score",
            _REAL,
            "log-probability (nats) of the whole gold answer after the prompt; of several, the "
            "likeliest; null unless scored (in unmodified rows options of up to max_new_tokens "
            "always are)",
        ),
        _column(
            "answer_share",
            _REAL,
            "probability of the option that the output names, out of the options as wholes, 0 "
            "where it names none; null where they were not scored",
        ),
        _column(
            "answer_logprob",
            _REAL,
            "of unmodified rows (vanilla, translate_test): mean log-probability (nats) of "
            "output_ids, each after those before it; null in all others, and where there are none",
        ),
        _column(
            "first_logprob",
            _REAL,
            "log-probability (nats) of the first generated token; null if not finite",
        ),
        _column(
            "first_entropy",
            _REAL,
            "entropy (nats) of the first generated token's distribution over the vocabulary; null "
            "if not finite",
        ),
        _column(
            "first_margin",
            _REAL,
            "gap between the two highest logits of the first generated token; null if not finite",
        ),
        _required(
            "min_margin",
            _REAL,
            "by how little the row was decided: the smallest gap between the two highest logits "
            "over the generated tokens and, where options are scored, between the best two of "
            "them. Below the margin in run.json (status, near_ties), another batch size may "
            "decide otherwise, unless path is exact",
        ),
        _required("finite", _BOOL, "false if a logit was NaN or the highest one infinite"),
        _required(
            "path",
            _TEXT,
            "how the row was computed: shared-prefix, expanded-cache, oracle, or exact (a "
            "near-tie answered again by the oracle in float32)",
        ),
        _required("seconds", _REAL, "its share of the wall time of its batch"),
    ]
)
"""One row per generated answer. Key: item, control, stratum, component, source, target and
condition."""

LATER = ("condition", "answer_share", "answer_logprob")
"""Columns of rows that parts of earlier releases lack; there they are null."""


def completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the columns of `LATER` that it lacks and `schema` has, in their places."""
    for number, column in enumerate(schema):
        if column.name in LATER and column.name not in table.column_names:
            at = min(number, table.num_columns)
            table = table.add_column(at, column, pa.nulls(len(table), column.type))
    return table


KEY = ("item", "control", "stratum", "component", "source", "target")


class RowKey(NamedTuple):
    """What tells the rows of one item apart; null in the table is None here."""

    control: str
    stratum: str | None = None
    component: str | None = None
    source: int | None = None
    target: int | None = None
    condition: str | None = None


ITEMS = pa.schema(
    [
        _required("item", _STRING, "id of the item, unique in the run"),
        _required("lang", _STRING, "language of main"),
        _required("aux_lang", _STRING, "language of aux"),
        _required("main", _STRING, "the prompt that is answered"),
        _required("aux", _STRING, "its counterpart, which vectors are captured from"),
        _column("answer", _STRING, "gold answer"),
        _column("other_answers", _STRINGS, "further gold answers, as good as it"),
        _column("options", _STRINGS, "the option strings that an answer may be"),
        _column("labels", _STRINGS, "what each option says, for people to read"),
        _column(
            "aux_answer", _STRING, "gold answer in the language of aux; null if it is that of main"
        ),
        _column("other_aux_answers", _STRINGS, "further ones"),
        _column(
            "aux_labels",
            _STRINGS,
            "what each option says in the language of aux; null if it is that of main",
        ),
        _column(
            "shares", _REALS, "how a population answered, one share per option; null if unknown"
        ),
        _column(
            "shots",
            pa.list_(pa.list_(pa.string())),
            "earlier turns that stand before the prompt: question and answer of main, question "
            "and answer of aux",
        ),
        _required("cluster", _STRING, "what is independent; intervals resample it"),
        _column("split", _STRING, "pilot, unseen, final; null if the task has no splits"),
        _column("strata", entries(pa.string(), pa.string()), "groups to report apart"),
        _column("paraphrase", _STRING, "main in other words of the same language"),
        _required("main_token", _STRING, "last token of main: the one that is replaced"),
        _required("aux_token", _STRING, "last token of aux: the one that is captured"),
        _required("main_length", _COUNT, "tokens of main"),
        _required("aux_length", _COUNT, "tokens of aux"),
        _column(
            "respelled",
            _BOOL,
            "whether an option, or the gold answer of an open question, has other token ids than "
            "the tokenizer gives for prompt and answer as one text, since those would change the "
            "prompt's own at its end, or one that is the unknown token; null if the item cannot "
            "be asked",
        ),
    ]
)
"""One row per item that the run covers (failed items included)."""

FailureKind = Literal["prompt", "memory", "error", "worker"]


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that could not be run, or not wholly.

    Attributes:
        item: its id.
        kind: "prompt" (it cannot be asked), "memory" (it does not fit), "error" (something else
            went wrong), "worker" (the process that ran it was lost).
        reason: one sentence.
    """

    item: str
    kind: FailureKind
    reason: str


FAILURES = pa.schema(
    [
        _required("item", _STRING, "id of the item"),
        _required(
            "kind",
            _STRING,
            "prompt (it cannot be asked), memory (it does not fit), error (something else went "
            "wrong), worker (the process that ran it was lost)",
        ),
        _required("reason", _STRING, "why it could not be run"),
    ]
)
"""One row per item that could not be run, or not wholly."""

ATTRIBUTION = pa.schema(
    [
        _required("item", _TEXT, "id of the item; see items.parquet"),
        _required("component", _TEXT, "attn, ffn, attn_residual, block or cross_attn"),
        _required("source", _LAYER, "source layer in aux's run, from 0"),
        _required("target", _LAYER, "target layer in main's run, from 0"),
        _required(
            "score",
            _REAL,
            "by how much (nats) the pair would lift the first-step log-probability of the option "
            "that it lifts most, estimated from gradients at the unmodified run; of the likeliest "
            "first tokens, where options share their first token. No gold answer is used",
        ),
    ]
)
"""One row per item, component and pair of layers, in this order."""

SAMPLES = pa.schema(
    [
        _required("item", _STRING, "id of the item; see items.parquet"),
        _required("number", pa.int16(), "which of the item's samples, from 0"),
        _required("output", _STRING, "sampled text, special tokens left out"),
        _column("prediction", _STRING, "the option that the output names; null if none"),
        _column("correct", _BOOL, "right under the task's rule; null without gold answer"),
    ]
)
"""One row per sampled answer of the unmodified model to main."""

ROWS_TABLE = "rows"
ATTRIBUTION_TABLE = "attribution"
SAMPLES_TABLE = "samples"
PART_TABLES = {ROWS_TABLE: ROWS, ATTRIBUTION_TABLE: ATTRIBUTION, SAMPLES_TABLE: SAMPLES}
"""Tables kept in parts, each in the folder of its name."""
FILE_TABLES = {"items": ITEMS, "failures": FAILURES}
"""Tables kept in one file each, NAME.parquet."""


def describe(schema: pa.Schema) -> str:
    """The columns of a table as a Markdown table, for the documentation."""
    lines = ["| column | type | null | meaning |", "| --- | --- | --- | --- |"]
    for column in schema:
        kind = _type_name(column.type)
        meaning = column.metadata[b"meaning"].decode()
        lines.append(
            f"| `{column.name}` | {kind} | {'yes' if column.nullable else ''} | {meaning} |"
        )
    return "\n".join(lines)


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return str(kind.value_type)
    if is_entries(kind):
        struct = kind.value_type
        return f"list of key {struct.field(0).type}, value {struct.field(1).type}"
    return str(kind)
