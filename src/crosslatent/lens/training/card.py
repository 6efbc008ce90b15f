"""The card of a trained model: what was trained and how, what was not tested, how to load it.

Everything in it comes from the record of training; it holds no figure that was not measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from crosslatent.lens.training.record import (
    EARLY,
    FINISHED,
    FOLDER,
    INTERRUPTED,
    CurvePoint,
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


def base_name(record: TrainRecord) -> str:
    """The base model as others may know it: of a local folder only its own name."""
    name = " ".join(str(record.base.get("name", "")).split())
    if _is_local(name):
        return Path(name).name or "local model"
    return name or "unknown"


def _has_local_base(record: TrainRecord) -> bool:
    return _is_local(" ".join(str(record.base.get("name", "")).split()))


def _is_local(name: str) -> bool:
    return Path(name).is_absolute() or name.startswith((".", "~")) or Path(name).is_dir()


def _front_matter(record: TrainRecord) -> str:
    base = {} if _has_local_base(record) else {"base_model": base_name(record)}
    data = {
        **base,
        "library_name": "peft" if _lora(record) else "transformers",
        "pipeline_tag": "text-generation",
        "language": _languages(record),
        "tags": _tags(record),
    }
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{text}---\n"


def _tags(record: TrainRecord) -> list[str]:
    own = ["lens", "language-subspaces"] if _is_lens(record) else ["xsft"]
    return ["crosslatent", *own, "multilingual", *(["lora"] if _lora(record) else [])]


def _languages(record: TrainRecord) -> list[str]:
    central = [] if record.central is None else [record.central]
    return list(dict.fromkeys([*central, *record.languages]))


def _is_lens(record: TrainRecord) -> bool:
    return record.objective == "lens"


def _lora(record: TrainRecord) -> dict[str, Any] | None:
    return record.spec.get("lora")


def _summary(record: TrainRecord) -> str:
    what = "Adapters for" if _lora(record) else "A version of"
    how = (
        "towards language subspaces of its own hidden states (Lens)"
        if _is_lens(record)
        else "on gold answers (supervised fine-tuning, the baseline that Lens is compared with)"
    )
    return (
        f"{what} {plain(base_name(record))}, of which {_blocks(record.blocks)} were trained {how}. "
        "Made with crosslatent; this card was written from the record of training, in "
        f"`{FOLDER}/train.json`."
    )


def _what(record: TrainRecord) -> Iterator[str]:
    local = ", a local folder" if _has_local_base(record) else ""
    yield f"Base model: {plain(base_name(record))}{local}{_hash_of(record)}"
    yield f"Trained: {_blocks(record.blocks)}, counted from 0; {_parameters(record)}"
    lora = _lora(record)
    if lora:
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


def _hash_of(record: TrainRecord) -> str:
    found = (record.base.get("identity") or {}).get("weights_hash")
    return f" (weights {plain(str(found))})" if found else ""


def _parameters(record: TrainRecord) -> str:
    text = f"{record.parameters:,} parameters"
    if record.total_parameters:
        share = record.parameters / record.total_parameters
        text += f", which is {share:.2%} of the {record.total_parameters:,} that the base has"
    return text


def _blocks(blocks: Sequence[int]) -> str:
    word = "block" if len(blocks) == 1 else "blocks"
    return f"{word} {', '.join(map(str, blocks))}"


def _how(record: TrainRecord) -> Iterator[str]:
    spec = record.spec
    if _is_lens(record):
        yield from _objective(spec)
    else:
        yield "Loss: cross-entropy on the tokens of gold answers"
    yield f"Rows: {_counts(record.rows)}"
    if any(record.cut.values()):
        cut = {lang: count for lang, count in record.cut.items() if count}
        yield f"Texts that were cut to {spec.get('max_tokens')} tokens: {_counts(cut)}"
    yield (
        f"Steps: {record.steps:,}, {_passes(spec)}; "
        f"{_number(spec, 'batch_size')} rows a batch, {_number(spec, 'accumulate')} batches a step"
    )
    yield (
        f"Optimizer: AdamW, learning rate {_number(spec, 'lr')} ({plain(str(spec['schedule']))}, "
        f"warm-up {_number(spec, 'warmup')}), weight decay {_number(spec, 'weight_decay')}, "
        f"gradients clipped at {_number(spec, 'clip')}; seed {_number(spec, 'seed')}"
    )
    yield f"Precision: {plain(str(spec['precision']))}"
    yield from _saved(record)
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    if versions:
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


def _passes(spec: Mapping[str, Any]) -> str:
    if spec.get("max_steps") is not None:
        return f"of {_number(spec, 'max_steps')}"
    return f"in at most {_number(spec, 'epochs')} epochs"


def _saved(record: TrainRecord) -> Iterator[str]:
    if not record.saved:
        return
    text = f"Saved in {plain(str(record.saved['dtype']))}"
    if record.saved["lost"]:
        text += f"; {record.saved['lost']:.1%} of what training changed was lost by rounding to it"
    if record.saved["loss"] is not None:
        text += f"; held-out loss as saved {record.saved['loss']:.6g}"
    yield text


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
    chosen = points[:1] if len(points) == 1 else [points[0], points[-1]]
    return ["## Losses on held-out rows", " ".join(parts), _table(chosen)]


def _table(points: Sequence[CurvePoint]) -> str:
    names = list(points[0].terms)
    rows = [
        ["step", "loss", *map(plain, names)],
        ["---"] * (2 + len(names)),
        *(
            [str(point.step), f"{point.loss:.6g}"]
            + [f"{point.terms[name]:.6g}" if name in point.terms else "" for name in names]
            for point in points
        ),
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


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


def _loading(record: TrainRecord) -> Iterator[str]:
    # A name goes into code as a Python literal, and cannot end the code block around it.
    local = _has_local_base(record)
    folder = '"."'
    base = '"BASE"' if local else repr(base_name(record)).replace("`", "\\x60")
    other = ", and that of the base model for `BASE`" if local and _lora(record) else ""
    yield f'From within this folder (from elsewhere, put its path for `"."`{other}):'
    lines = ["import crosslatent as xl", "", f"model = xl.load({folder})"]
    if _lora(record):
        lines += [
            "",
            "# or with PEFT:",
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM",
            "",
            f"base = AutoModelForCausalLM.from_pretrained({base})",
            f"model = PeftModel.from_pretrained(base, {folder})",
        ]
    else:
        lines += [
            "",
            "# or with transformers:",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f"model = AutoModelForCausalLM.from_pretrained({folder})",
            f"tokenizer = AutoTokenizer.from_pretrained({folder})",
        ]
    yield "\n".join(["```python", *lines, "```"])
    if local and _lora(record):
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
