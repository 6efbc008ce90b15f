"""From questions to a chooser and one sentence: split, sweep, choose, test with controls, report.

Three sweeps, each of which resumes: the unmodified answers to both prompts (what the model knows),
all pairs on the questions to choose on, and what was chosen, with controls, on the questions to
test on. The choice never sees the latter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from crosslatent.analysis.data import RunData
from crosslatent.core.bars import told
from crosslatent.core.cards import Card, Shown
from crosslatent.core.errors import RunFolderError, TaskError
from crosslatent.core.settings import complete, documented, part, unique
from crosslatent.core.shared_settings import CHOOSER, IMPROVE_MARKER, ImproveSettings
from crosslatent.core.specs import canonical_hash, check_component
from crosslatent.core.untrusted import parse_json
from crosslatent.model import Model, loaded
from crosslatent.report import ReportPaths, build_report
from crosslatent.report.front import Lead
from crosslatent.report.notebook import finding_card
from crosslatent.report.verdicts.outcome import FINDING, use
from crosslatent.report.verdicts.outcome import whole as percent
from crosslatent.runs.files import prepare_folder, write_json
from crosslatent.runs.reader import RunReader
from crosslatent.selectors import saved
from crosslatent.selectors.crossfit import DividedChoice, choose
from crosslatent.selectors.division import FEWEST, PILOT, UNSEEN, Division
from crosslatent.selectors.findings import Alternative, Finding, aux_language, judge
from crosslatent.selectors.table import read_table
from crosslatent.stats import Estimate
from crosslatent.studies.questions import (
    answered,
    division_of,
    guessing,
    language_of_aux,
    odd_prompts,
)
from crosslatent.sweeps import Progress, SweepSpec, run_sweep
from crosslatent.tasks import Item, Task, task_of
from crosslatent.tasks.counterpart_checks import leaks
from crosslatent.tasks.task import seen_of

RESULT = "improvement.json"
RUNS = "runs"
KNOWN, SWEPT, TESTED = "unmodified", "pairs", "tested"
"""The three run folders."""
CONTROLS = ("shuffled", "noise", "self")
"""What decides, beside the gain: all of them know nothing of the answer."""


@dataclass(frozen=True, slots=True)
class Improvement(Shown):
    """What came of it.

    Attributes:
        sentence: the result, for anybody.
        use: what to do now.
        finding: the figures; None if nothing was tried.
        division: how questions were split, in a sentence; empty if nothing was tried.
        warnings: what the result must be read with.
        report: the page.
        chooser: what is recommended, for `load_chooser`; None if nothing is.
        runs: the run folders.
    """

    sentence: str
    use: str
    finding: Finding | None
    division: str
    warnings: tuple[str, ...]
    report: Path
    chooser: Path | None
    runs: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; paths are below the output folder."""
        data = asdict(self)
        data["report"] = self.report.name
        data["chooser"] = None if self.chooser is None else self.chooser.name
        data["runs"] = [f"{RUNS}/{path.name}" for path in self.runs]
        if self.finding is not None:
            data["finding"] |= {
                "verdict": self.finding.verdict,
                "recommended": self.finding.recommended,
            }
        return data

    def _card(self) -> Card:
        files = f"Report: {self.report}" + (f"; chooser: {self.chooser}" if self.chooser else "")
        notes = (self.division, *self.warnings, files)
        return finding_card("What was found", (self.sentence, self.use), notes, self.finding)


@documented(ImproveSettings)
def improve(
    model: Model | str | Path,
    items: Task | Sequence[Item | Mapping[str, Any]],
    *,
    out: str | Path,
    progress: Callable[[str, Progress], None] | bool | None = None,
    warned: Callable[[str], None] | None = None,
    failures: Mapping[str, str] | None = None,
    **options: Unpack[ImproveSettings],
) -> Improvement:
    """Find out whether a transplant answers one's questions better, and keep how.

    Questions are split here unless they name splits: from 50 on, a third to choose on; below that,
    cross-validation. The sentence is about questions that the choice has not seen.

    Args:
        model: the model, or its folder or name on the hub.
        items: a task, or items, or objects with `main`, `aux`, `answer` and what else
            `tasks.Item` has; 12 or more with gold answers.
        out: a folder for runs, report and chooser; the same call again resumes.
        progress: True for bars; or a function, called after every step of every batch with the
            name of what is being done.
        warned: gets warnings as they arise.
        failures: item -> why it cannot be asked, as far as that is known already.
        {settings}

    Raises:
        UsageError: too few questions with gold answers, or facts; one answer for all of them;
            something in the arguments does not fit the model.
        SweepError: one item after another fails.
        RunFolderError: `out` cannot be written, or holds something else.
    """
    asked = complete(ImproveSettings, options)
    task = answered(items if isinstance(items, Task) else task_of(items), failures or {})
    model = loaded(model)
    for name in unique(asked["component"]):
        model.check_component(check_component(name))
    division_of(task, asked["seed"])
    _begin(Path(out), model, task, asked)
    with told(progress) as show:
        found = _Work(model, Path(out), asked, show, warned).done(task)
    write_json(Path(out) / RESULT, found.to_dict())
    return found


def _begin(out: Path, model: Model, task: Task, asked: ImproveSettings) -> None:
    """Mark the folder as that of this job, or see that it is.

    Raises:
        RunFolderError: it is of another one, or of something else.
    """
    questions = canonical_hash([task.rule, *(item.to_dict() for item in task.items)])
    known = {name: value for name, value in model.identity.items() if name.endswith("_hash")}
    settings = {name: _plain(value) for name, value in asked.items()}
    arguments = {"questions": questions, "model": known, "settings": settings}
    if prepare_folder(out, IMPROVE_MARKER):
        there = parse_json((out / IMPROVE_MARKER).read_text(encoding="utf-8"))
        differs = [name for name in arguments if there.get(name) != arguments[name]]
        if differs:
            raise RunFolderError(
                f"{str(out)!r} holds the result for other {' and '.join(differs)}: give another "
                "folder, or the same arguments to go on."
            )
    else:
        write_json(out / IMPROVE_MARKER, arguments)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class _Work:
    """One call at work."""

    def __init__(
        self,
        model: Model,
        out: Path,
        asked: ImproveSettings,
        progress: Callable[[str, Progress], None] | None,
        warned: Callable[[str], None] | None,
    ) -> None:
        self.model, self.out, self.asked = model, out, asked
        self.progress, self.warned = progress, warned
        self.seed = asked["seed"]
        self.components = unique(asked["component"]) or ("attn", "ffn")
        self.warnings: list[str] = []
        self.runs: list[Path] = []
        self.failed = ""

    def warn(self, *sentences: str) -> None:
        """Keep and hand on what the result must be read with."""
        for one in sentences:
            if one not in self.warnings:
                self.warnings.append(one)
                if self.warned is not None:
                    self.warned(one)

    def done(self, task: Task) -> Improvement:
        """All steps."""
        self.warn(*leaks(task.items))
        whole_task = replace(task, items=tuple(replace(one, split=None) for one in task.items))
        known = self.swept(KNOWN, whole_task, pairs="none")
        self.warn(*odd_prompts(known, scored=self.asked["score_options"]))
        task = self.asked_of(task, known)
        lacking = self.knowledge(known, task)
        if lacking and not self.asked["anyway"]:
            return self.reported(lacking, _NOT_TRIED, None, None, None)
        self.warn(*([lacking] if lacking else []))
        return self.tested(task, division_of(task, self.seed))

    def asked_of(self, task: Task, known: RunData) -> Task:
        """The questions that could be asked: those of the first call, also where it was cut.

        Raises:
            TaskError: they are too few.
        """
        marker = self.out / IMPROVE_MARKER
        there = parse_json(marker.read_text(encoding="utf-8"))
        ran = there.setdefault(_ASKED, list(known.items.ids))
        write_json(marker, there)
        left = tuple(item for item in task.items if item.id in set(ran))
        if len(left) < FEWEST:
            raise TaskError(
                f"{len(left)} of {len(task.items)} questions could be asked, and {FEWEST} are the "
                f"fewest of which anything can be said; the first that could not: {self.failed}"
            )
        return replace(task, items=left)

    def swept(self, name: str, task: Task, **spec: Any) -> RunData:
        """One of the three sweeps, or what is missing of it."""
        path = self.out / RUNS / name
        asked: SweepSpec = {
            **part(SweepSpec, self.asked),
            "component": (),
            **spec,  # type: ignore[typeddict-item]
        }
        show = None if self.progress is None else (lambda one, to=self.progress: to(name, one))
        outcome = run_sweep(self.model, task, asked, path, progress=show)
        for item, why in outcome.failures.items():
            self.failed = self.failed or why
            self.warn(f"{item!r} was left out: {why}")
        self.runs.append(path)
        return RunData(RunReader(path), seed=self.seed)

    def knowledge(self, known: RunData, task: Task) -> str:
        """A sentence if the model does not know the answers; warnings if little is to be gained."""
        vanilla, aux = map(known.mean, (known.items.vanilla, known.items.translate_test))
        other, (floor, chance) = language_of_aux(task), guessing(task)
        if aux.value is None:
            self.warn(
                f"Whether the model knows the answers in {other} is not known: they are open "
                f"questions without a gold answer in {other} (aux_answer)."
            )
            return ""
        if silent := vanilla.n - aux.n:
            self.warn(
                f"{silent} of {vanilla.n} questions have no gold answer in {other} (aux_answer): "
                "what needs no transplant is compared on the others, or not at all."
            )
        both = f"{percent(vanilla)} unmodified and {percent(aux)} in {other}"
        if max(vanilla.value or 0.0, aux.value) <= floor:
            return (
                f"Nothing can be repaired: the model is right on {both}{chance}, so it does not "
                f"know the answers to these {vanilla.n:,} questions (or not in this form)."
            )
        if aux.value <= (vanilla.value or 0.0):
            self.warn(
                f"{other} is no better than the language itself ({both}): what is carried over is "
                "what the model knows in the other prompt, so expect little."
            )
        return ""

    def tested(self, task: Task, division: Division) -> Improvement:
        """Choose, test, save and report."""
        apart = len(division.parts) == 1
        names = {PILOT: division.chosen_on, UNSEEN: division.tested_on} if apart else {}
        split_of = {one: name for name, ids in names.items() for one in ids}
        items = tuple(
            replace(one, split=split_of.get(one.id))
            for one in task.items
            if one.id in split_of or not apart
        )
        tuning = replace(task, items=tuple(i for i in items if i.split in (None, PILOT)))
        testing = replace(task, items=tuple(i for i in items if i.split in (None, UNSEEN)))
        tuning = replace(tuning, title=f"{task.title}: every pair, on the questions to choose on")
        testing = replace(testing, title=f"{task.title}: what was chosen, on those to test on")
        swept = self.swept(SWEPT, tuning, component=self.components, pairs="all")
        choice = choose(read_table(swept), division, seed=self.seed)
        pairs = choice.tested.pairs
        tested = self.swept(
            TESTED,
            testing,
            component=tuple(dict.fromkeys(one.component for one in pairs)),
            pairs=tuple(sorted({(one.source, one.target) for one in pairs})),
            controls=CONTROLS,
        )
        finding = judge(
            choice,
            read_table(tested, others=True),
            aux_lang=aux_language(tested),
            seed=self.seed,
        )
        chooser = None if finding.recommended is None else self.saved(choice, swept, finding)
        return self.reported(FINDING.say(finding), use(finding), finding, division, chooser)

    def saved(self, choice: DividedChoice, swept: RunData, finding: Finding) -> Path:
        """Write what is recommended: what it was fitted on, and what it is worth."""
        rule = choice.kept
        worth: Finding | Alternative = finding
        if (plain := finding.best_plain) is not None and finding.recommended == plain.name:
            rule, worth = choice.plain[plain.name][0], plain
        split = PILOT if len(choice.division.parts) == 1 else ""
        reader, n = swept.reader, len(choice.division.chosen_on)
        origin = saved.fitted_on(reader.manifest, reader.path.name, split, n)
        origin["measured"] = {
            "sentence": FINDING.say(finding),
            "vanilla": _share(finding.vanilla),
            "accuracy": _share(worth.accuracy),
            "gain": _share(worth.gain),
        }
        rows = swept.con.execute("SELECT item, cluster, main, aux FROM items").fetchall()
        seen = seen_of(rows, (reader.manifest.get("task") or {}).get("name"))
        about = rule.selector.about
        found = saved.SavedSelector(rule.selector.name, about, rule.fitted, origin, seen)
        saved.save(found, self.out / CHOOSER)
        return self.out / CHOOSER

    def reported(
        self,
        sentence: str,
        advice: str,
        finding: Finding | None,
        division: Division | None,
        chooser: Path | None,
    ) -> Improvement:
        """Write the page."""
        divided = "" if division is None else division.sentence
        lead = Lead(sentence, finding, advice, [divided, *self.warnings])
        page: ReportPaths = build_report(self.runs[-2:], self.out, seed=self.seed, lead=lead)
        return Improvement(
            sentence,
            advice,
            finding,
            divided,
            tuple(self.warnings),
            page.page,
            chooser,
            tuple(self.runs),
        )


_ASKED = "asked"
"""In the marker: ids of the questions that could be asked."""
_NOT_TRIED = "No pair was tried: --anyway (anyway=True) tries all the same."


def _share(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "interval": [estimate.low, estimate.high], "n": estimate.n}
