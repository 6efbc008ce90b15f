"""Texts that do harm where they are not shown as text, and a run folder that is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from support.runs import Record, item, row, write_run

HOST = "pwned.invalid"
"""Asked for by what is in `BAD`, if any of it is taken for more than text."""

BAD = (
    "\"'><script>window.pwned=1</script></script></style></title></textarea>"
    f"<img src=http://{HOST}/x onerror=window.pwned=1><svg onload=window.pwned=1>"
    f"<a href=javascript:window.pwned=1 style=background:url(http://{HOST}/y)>a</a><b>b</b><br>"
    f"<!-- --><iframe src=http://{HOST}/z></iframe>{{{{7*7}}}}{{%x%}}%{{x}}${{7*7}}&amp;&#60;b&#62;"
    "$\\frac{$ \\input{/etc/passwd}\\write18{id}_^%#&~^^41"
    "\x1b]0;pwned\x07\x1b[31mred\x1b[2J\x9b31m\x00\x7f\b\rover\u2028\u2029\u202etxet\u2066\ufeff"
    "'; DROP TABLE rows; --\n\n# heading\n---\n[link](javascript:window.pwned=1)\t"
    "../../../../etc/passwd [red]x[/red][/]"
)
# Arrow and JSON keep a zero byte; it ends a text in C, and so in fonts and file names.


def bad(name: str) -> str:
    """`BAD` behind a name, so that texts differ; it begins like a formula of a spreadsheet."""
    return f"=cmd|' /C calc'!{name}{BAD}"


LANGUAGES = ("sw", bad("lang"))
SPLITS = ("pilot", bad("split"))
OPTIONS = [f"(1){BAD}", f"(2){BAD}"]
LABELS = [bad("yes"), bad("no")]
_ARMS = (
    ("none", None),
    ("shuffled", "same_answer"),
    ("shuffled", "different_answer"),
    ("shuffled", bad("stratum")),
    ("noise", None),
    (bad("control"), None),
)


def hostile_run(path: Path, *, shift: int = 0, **manifest: Any) -> Path:
    """A run in which every text that a file can hold is `BAD`, with all that reports show.

    With another `shift`, other answers are right.
    """
    items = [
        hostile_item(f"{split}{lang}{fact}", lang, split, fact)
        for split in SPLITS
        for lang in LANGUAGES
        for fact in range(3)
    ]
    rows = [one for place, each in enumerate(items) for one in _rows(each, place + shift, items)]
    failures = [{"item": items[-1]["item"], "reason": bad("reason"), "kind": "prompt"}]
    return write_run(path, items, rows, **{"failures": failures} | hostile_manifest() | manifest)


def hostile_manifest() -> dict[str, Any]:
    """run.json, but for its version."""
    return {
        "created": bad("created"),
        "command": bad("command"),
        "versions": {bad("software"): bad("version")},
        "model": {
            "name": bad("model"),
            "dtype": bad("dtype"),
            "n_layers": 2,
            "weights_hash": bad("hash"),
            bad("key"): bad("value"),
        },
        "task": {
            name: bad(name)
            for name in ("name", "title", "description", "direction", "type", "rule", "metric")
        },
        "spec": {"seed": 0, "components": ["ffn"], bad("key"): bad("value")},
        "requested": {bad("key"): bad("value")},
        "headline": {
            "task": bad("name"),
            "test": SPLITS[1],
            "controls": ["noise", bad("control"), f"shuffled/{bad('stratum')}"],
        },
        "status": {bad("key"): bad("value")},
        bad("key"): bad("value"),
    }


def hostile_item(name: str, lang: str, split: str, fact: int) -> Record:
    """One question."""
    return item(
        f"{bad('item')}{name}",
        lang=lang,
        aux_lang=bad("aux_lang"),
        main=f"{BAD} main:",
        aux=f"{BAD} aux {name}:",
        answer=OPTIONS[fact % 2],
        options=OPTIONS,
        labels=LABELS,
        aux_answer=bad("aux_answer"),
        aux_labels=LABELS,
        shots=[[BAD, BAD, BAD, BAD]],
        cluster=f"{BAD}{split}{fact}",
        split=split,
        strata={"relation": bad(f"value{fact % 2}"), bad("group"): bad(f"value{fact % 2}")},
        paraphrase=BAD,
        main_token=":",
        aux_token=bad("token"),
    )


def _rows(question: Record, place: int, items: list[Record]) -> Iterator[Record]:
    texts = {
        "lang": question["lang"],
        "output_lang": bad("output_lang"),
        "path": bad("path"),
        "option_logprobs": [-0.5, -1.0],
    }
    for control in ("vanilla", "translate_test"):
        yield _row(question, control, place % 3 == 0, **texts)
    for control, stratum in _ARMS:
        donor = items[place - 1]["item"] if control == "shuffled" else None
        for pair in range(4):
            right = (place + pair) % 2 == 0 if control == "none" else pair % 3 == 0
            yield _row(
                question,
                control,
                right,
                component="ffn",
                source=pair // 2,
                target=pair % 2,
                stratum=stratum,
                donor=donor,
                **texts,
            )


def _row(question: Record, control: str, right: bool, **more: Any) -> Record:
    gold = question["answer"]
    prediction = gold if right else next(each for each in OPTIONS if each != gold)
    return row(
        question["item"],
        control,
        right,
        prediction=prediction,
        output=f"{BAD}{prediction}",
        correct_by_rule={bad("rule"): right, "contains": right},
        scores={bad("metric"): 0.5, "f1": float(right)},
        **more,
    )


class Page(HTMLParser):
    """What a browser makes of a page: its elements, scripts, and what they refer to."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.addresses: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.comments: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {(tag, name) for name, _ in attrs}
        values = dict(attrs)
        self.addresses += [values[name] or "" for name in ("href", "src") if name in values]
        if tag == "script":
            self.scripts.append((values.get("type"), ""))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            kind, before = self.scripts[-1]
            self.scripts[-1] = (kind, before + data)
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)
