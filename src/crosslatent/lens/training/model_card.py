"""The card of a trained model: what was trained and how, what was not tested, how to load it.

Everything in it comes from the record of training; it holds no figure that was not measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from crosslatent.lens.training.record import (
    EARLY,
    FINISHED,
    FOLDER,
    INTERRUPTED,
    RECORD,
    TrainRecord,
)
from crosslatent.runs.files import whole_file

PAPER = "arXiv 2410.04407"

_STOPPED = {
    FINISHED: "Training went on to its end.",
    EARLY: "Training stopped early, when the held-out loss no longer fell; the weights are those "
    "with the lowest one.",
    INTERRUPTED: "Training was interrupted before its end.",
}
_TERMS = {
    "align": "pulls together what the languages share",
    "separate": "moves a target language towards its own place",
    "retain": "keeps the central language where it was",
}
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$])")


def write_card(folder: Path, record: TrainRecord) -> Path:
    """Write `README.md` into the folder of a trained model, and return its path.

    Raises:
        RunFolderError: it cannot be written.
    """
    path = folder / "README.md"
    with whole_file(path) as temporary:
        temporary.write_text(card(record, folder.name), encoding="utf-8")
    return path


def card(record: TrainRecord, title: str) -> str:
    """The text of a card: YAML front matter, then Markdown.

    Args:
        record: of training.
        title: what the model is called.
    """
    parts = [
        f"# {plain(title)}",
        _summary(record),
        "## What was trained",
        _bullets(_what(record)),
        "## How",
        _bullets(_how(record)),
        *_losses(record),
        "## What was not evaluated",
        _not_evaluated(record),
        "## Loading",
        *_loading(record),
        "## Source",
        _source(record),
    ]
    return f"{_front_matter(record)}\n" + "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """A name or number as text that neither Markdown nor HTML reads as anything else."""
    joined = " ".join(text.split())
    safe = joined.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", safe)


def _base(record: TrainRecord) -> tuple[str, bool]:
    """The base model's name, of a local folder only its own, and whether it is local."""
    name = " ".join(str(record.base.get("name", "")).split())
    path = Path(name)
    local = path.is_absolute() or name.startswith((".", "~")) or path.is_dir()
    return (path.name or "local model" if local else name or "unknown"), local


def _front_matter(record: TrainRecord) -> str:
    (base, local), lora = _base(record), _lora(record)
    central = [] if record.central is None else [record.central]
    own = ["lens", "language-subspaces"] if _is_lens(record) else ["xsft"]
    data = {
        **({} if local else {"base_model": base}),
        "library_name": "peft" if lora else "transformers",
        "pipeline_tag": "text-generation",
        "language": list(dict.fromkeys([*central, *record.languages])),
        "tags": ["crosslatent", *own, "multilingual", *(["lora"] if lora else [])],
    }
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{text}---\n"


def _is_lens(record: TrainRecord) -> bool:
    return record.objective == "lens"


def _lora(record: TrainRecord) -> dict[str, Any] | None:
    return record.spec.get("lora")


def _summary(record: TrainRecord) -> str:
    how = (
        "towards language subspaces of its own hidden states (Lens)"
        if _is_lens(record)
        else "on gold answers (supervised fine-tuning, the baseline that Lens is compared with)"
    )
    return (
        f"{'Adapters for' if _lora(record) else 'A version of'} {plain(_base(record)[0])}, of "
        f"which {_blocks(record)} were trained {how}. Made with crosslatent; this card was written "
        f"from the record of training, in `{FOLDER}/{RECORD}`."
    )


def _what(record: TrainRecord) -> Iterator[str]:
    base, local = _base(record)
    weights = (record.base.get("identity") or {}).get("weights_hash")
    known = f" (weights {plain(str(weights))})" if weights else ""
    yield f"Base model: {plain(base)}{', a local folder' if local else ''}{known}"
    share = ""
    if record.total_parameters:
        share = (
            f", which is {record.parameters / record.total_parameters:.2%} of the "
            f"{record.total_parameters:,} that the base has"
        )
    yield f"Trained: {_blocks(record)}, counted from 0; {record.parameters:,} parameters{share}"
    if lora := _lora(record):
        yield (
            f"As: LoRA of rank {lora['rank']}, alpha {lora['alpha']:g}, dropout "
            f"{lora['dropout']:g}, on the blocks' linear layers"
        )
    if record.not_adapted:
        yield (
            f"Left as they were: {record.not_adapted:,} matrices of these blocks that are no "
            "linear layers, such as experts held in one tensor"
        )
    yield f"Target languages: {', '.join(map(plain, record.languages))}"
    if record.central is not None:
        yield f"Central language: {plain(record.central)}"


def _blocks(record: TrainRecord) -> str:
    word = "block" if len(record.blocks) == 1 else "blocks"
    return f"{word} {', '.join(map(str, record.blocks))}"


def _how(record: TrainRecord) -> Iterator[str]:
    spec = record.spec
    if _is_lens(record):
        yield from _objective(spec)
    else:
        yield "Loss: cross-entropy on the tokens of gold answers"
    yield f"Rows: {_counts(record.rows)}"
    if cut := {lang: count for lang, count in record.cut.items() if count}:
        yield f"Texts that were cut to {spec.get('max_tokens')} tokens: {_counts(cut)}"
    passes = f"in at most {_number(spec, 'epochs')} epochs"
    if spec.get("max_steps") is not None:
        passes = f"of {_number(spec, 'max_steps')}"
    yield (
        f"Steps: {record.steps:,}, {passes}; "
        f"{_number(spec, 'batch_size')} rows a batch, {_number(spec, 'accumulate')} batches a step"
    )
    yield (
        f"Optimizer: AdamW, learning rate {_number(spec, 'lr')} ({plain(str(spec['schedule']))}, "
        f"warm-up {_number(spec, 'warmup')}), weight decay {_number(spec, 'weight_decay')}, "
        f"gradients clipped at {_number(spec, 'clip')}; seed {_number(spec, 'seed')}"
    )
    yield f"Precision: {plain(str(spec['precision']))}"
    if saved := record.saved:
        rounded = f"; {saved['lost']:.1%} of what training changed was lost by rounding to it"
        loss = "" if saved["loss"] is None else f"; held-out loss as saved {saved['loss']:.6g}"
        yield f"Saved in {plain(str(saved['dtype']))}{rounded if saved['lost'] else ''}{loss}"
    if record.versions:
        versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
        yield f"Software: {plain(versions)}"
    if record.created:
        yield f"Begun: {plain(record.created)}"


def _objective(spec: Mapping[str, Any]) -> Iterator[str]:
    for name, about in _TERMS.items():
        yield f"Loss `{name}`, weight {_number(spec, name)}: {about}"
    yield f"Losses read at: {', '.join(plain(str(layer)) for layer in spec['at'])}"
    strength = spec["strength"]
    if isinstance(strength, Mapping):
        by_lang = ", ".join(f"{plain(lang)} {value:g}" for lang, value in strength.items())
        yield f"Strength by language: {by_lang or '1 for all'} (1 where none is named)"
    else:
        yield f"Strength: {strength:g} times a language's direction"


def _number(spec: Mapping[str, Any], name: str) -> str:
    value = spec.get(name)
    return "nothing" if value is None else plain(f"{value:g}")


def _counts(counts: Mapping[str, int]) -> str:
    text = ", ".join(f"{plain(name.replace('_', ' '))} {count}" for name, count in counts.items())
    return text or "none"


def _losses(record: TrainRecord) -> list[str]:
    """The first and the last held-out losses as a table, if rows were held out."""
    points = record.points("held_out")
    parts = [_STOPPED.get(record.stopped, f"Training ended: {plain(record.stopped)}.")]
    if record.best_step is not None:
        parts.append(f"The lowest held-out loss was at step {record.best_step}.")
    if not points:
        return ["## Losses", " ".join([*parts, "No rows were held out, so there are none."])]
    names = list(points[0].terms)
    rows = [["step", "loss", *map(plain, names)], ["---"] * (2 + len(names))]
    for point in points[:1] if len(points) == 1 else (points[0], points[-1]):
        terms = [f"{point.terms[name]:.6g}" if name in point.terms else "" for name in names]
        rows.append([str(point.step), f"{point.loss:.6g}", *terms])
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return ["## Losses on held-out rows", " ".join(parts), table]


def _not_evaluated(record: TrainRecord) -> str:
    central = "the central language" if record.central is None else plain(record.central)
    return (
        "Training measures its own loss and nothing else. Nothing here says whether answers in "
        f"{', '.join(map(plain, record.languages))} became better, whether those in {central} "
        "became worse, whether answers stay in the language of the question, what other languages "
        "lost, or whether the model is safe to use: run `crosslatent lens eval` on questions that "
        "it was not trained on, with the base model beside it. Licence and limits of the base "
        "model hold for this one too."
    )


_LOADING = """```python
import crosslatent as xl

model = xl.load(".")

# or with {library}:
{code}
```"""
_WITH_PEFT = """from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained({base})
model = PeftModel.from_pretrained(base, ".")"""
_WITH_TRANSFORMERS = """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")"""


def _loading(record: TrainRecord) -> Iterator[str]:
    name, local = _base(record)
    open_base = local and _lora(record)
    other = ", and that of the base model for `BASE`" if open_base else ""
    yield f'From within this folder (from elsewhere, put its path for `"."`{other}):'
    # A name goes into code as a Python literal, and cannot end the code block around it.
    base = '"BASE"' if local else repr(name).replace("`", "\\x60")
    with_peft = _WITH_PEFT.replace("{base}", base)
    code = ("PEFT", with_peft) if _lora(record) else ("transformers", _WITH_TRANSFORMERS)
    yield _LOADING.replace("{library}", code[0]).replace("{code}", code[1])
    if open_base:
        yield (
            "The base is a local folder: `base_model_name_or_path` in `adapter_config.json` is its "
            "path on the machine of training, and has to be changed elsewhere."
        )


def _source(record: TrainRecord) -> str:
    if not _is_lens(record):
        return (
            "Supervised fine-tuning on answers, of the blocks that Lens trains, which it is a "
            f"baseline of ({PAPER})."
        )
    return (
        f"The method is Lens ({PAPER}): the mean hidden states of languages span a part that they "
        "share and parts that differ; training pulls a target language towards the central one in "
        "the first, and along its own direction in the second. This is an implementation of its "
        "own, and its defaults are those of the released training."
    )


def _bullets(items: Iterator[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
