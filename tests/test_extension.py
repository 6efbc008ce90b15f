"""What others add from outside: interventions, controls, selectors, answer rules, metrics, figures.

Each is one class or function in this file, nothing in src knows of it, and it goes from the sweep
to the report. A plug-in of another package comes through entry points: a package is made for the
test, whose modules are here as text.
"""

from __future__ import annotations

import json
import sys
import textwrap
from dataclasses import asdict, dataclass
from types import MappingProxyType

import duckdb
import numpy as np
import pandas as pd
import pytest
import torch

import crosslatent as xl
from crosslatent.cli.app import main
from crosslatent.core import plugins
from crosslatent.core.errors import UsageError
from crosslatent.core.plugins import CONTROL_KINDS
from crosslatent.core.specs import Site
from crosslatent.engine import oracle
from crosslatent.interventions.intervention import KINDS
from crosslatent.report.build import build_report
from crosslatent.report.figure import FIGURES
from crosslatent.runs import RunReader
from crosslatent.selectors import SELECTORS, evaluate_run, selectors_of
from crosslatent.selectors.base import SelectorState, pair_of
from crosslatent.selectors.candidates import always, looking_cost
from crosslatent.selectors.saved import load
from crosslatent.tasks.metrics import METRICS
from crosslatent.tasks.rules import RULES
from support.pages import text_of
from support.rows import ids_of, wrapped

NEW_TOKENS = 3


@xl.register_intervention("zero-neurons")
@dataclass(frozen=True, eq=False)
class ZeroNeurons(xl.Intervention):
    """Neurons of one block set to zero; in words ``zero-neurons:LAYER:NUMBER,NUMBER``."""

    site: Site
    numbers: tuple[int, ...]
    tokens: xl.Tokens = xl.ALL

    @classmethod
    def of_text(cls, model, settings):
        layer, _, numbers = settings.partition(":")
        del model
        yield settings, (cls(Site("neurons", int(layer)), tuple(map(int, numbers.split(",")))),)

    def change(self, own, _back=None, /):
        changed = own.clone()
        changed[..., list(self.numbers)] = 0
        return changed


@xl.register_control("rolled")
class Rolled(xl.Control):
    """The true vector with its dimensions moved on by one: as long, and without its meaning."""

    def layers(self, item, variant, component, vectors):
        true = vectors.of(self.reads(item, variant))[component]
        return true.roll(1, -1)


class Boldest(xl.Selector):
    """Per question the candidate whose first token is likeliest."""

    name = "boldest"
    about = "the candidate with the likeliest first token"

    def fit(self, seen, labels):
        del labels
        return FittedBoldest(seen.pairs)

    @classmethod
    def restored(cls, plain, arrays):
        del arrays
        return FittedBoldest(tuple(map(pair_of, plain["pairs"])))


@dataclass(frozen=True)
class FittedBoldest:
    pairs: tuple
    reads = "steps"
    report = MappingProxyType({})

    @property
    def cost(self):
        return looking_cost(len(self.pairs))

    def choose(self, seen):
        places = np.array([place for place in seen.places(self.pairs) if place >= 0])
        likely = np.nan_to_num(seen.steps.logprob[:, places], nan=-np.inf)
        return always(places[likely.argmax(axis=1)], len(seen), self.cost)

    def state(self):
        return SelectorState("boldest", {"pairs": [asdict(pair) for pair in self.pairs]}, {})


def parity(output, item):
    """Right if the output has an even number of characters, as the gold answer has or not."""
    same = len(output) % 2 == len(item.answer) % 2
    return xl.Verdict(same, None)


def brevity(answer, item):
    """1 for an output that is no longer than the gold answer, else the ratio of their lengths."""
    return min(1.0, len(item.answer) / max(1, len(answer.output)))


def ladder(axes, caption, run):
    """Accuracy of every way to answer, all languages together."""
    table = run.estimates
    table = table[(table.table == "accuracy") & (table.quantity == "accuracy")]
    table = table[(table.split == "all") & (table.lang == "all")]
    axes.barh(table.control, table.value)
    caption.append("Every way to answer.")
    return table[["control", "value", "low", "high", "n"]]


REGISTRIES = (KINDS, CONTROL_KINDS, SELECTORS, RULES, METRICS, FIGURES)
for registry in REGISTRIES:
    # Imported now, kinds are still known when the changes of a test are undone.
    for kind in tuple(registry.own):
        registry[kind]


@pytest.fixture(scope="module")
def registered():
    """The three that act wherever they fit, for this file alone."""
    with pytest.MonkeyPatch.context() as patch:
        for registry in REGISTRIES:
            patch.setattr(registry, "_kinds", dict(registry._kinds))
        assert xl.register_selector("boldest")(Boldest) is Boldest
        xl.register_rule("parity")(parity)
        xl.register_metric("brevity")(brevity)
        xl.register_figure("ladder")(ladder)
        yield


def write_task(folder, **changes):
    fields = {"name": "quiz", "direction": "en->x", "rule": "parity", "metric": "brevity"} | changes
    lines = [f"{name}: {value}" for name, value in fields.items()]
    (folder / "quiz.yaml").write_text("\n".join([*lines, "items: quiz.jsonl"]))
    (folder / "quiz.jsonl").write_text("\n".join(json.dumps(item) for item in make_items()))
    return folder / "quiz.yaml"


@pytest.fixture(scope="module")
def judged(model, registered, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    task = xl.load_task(write_task(folder))
    return xl.sweep(
        model, task, component="ffn", pairs="target-first", out=folder / "run",
        max_new_tokens=NEW_TOKENS,
    )  # fmt: skip


def make_items():
    return [
        {
            "id": f"{lang}{n}",
            "lang": lang,
            "aux_lang": "en",
            "main": f"Swali la {n} ni lipi? {lang} Jibu:",
            "aux": f"What is question {n}? Answer:",
            "answer": f"({n % 2 + 1})",
            "options": ["(1)", "(2)"],
            "cluster": f"fact-{n}",
            "split": "pilot" if n % 2 else "final",
        }
        for n in range(8)
        for lang in ("sw", "es")
    ]


CONDITIONS = {
    "none of 40": ZeroNeurons(Site("neurons", 1), tuple(range(40))),
    "the last token": ZeroNeurons(Site("neurons", 2), (0, 1, 2), xl.LAST),
}
ASKED = {
    "component": "ffn",
    "pairs": "target-first",
    "controls": ["rolled", "noise"],
    "conditions": CONDITIONS,
    "max_new_tokens": NEW_TOKENS,
}


@pytest.fixture(scope="module")
def model():
    return wrapped()


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("extension") / "run"
    return xl.sweep(model, make_items(), out=out, **ASKED)


def conditions_of(run):
    return json.loads((run.path / "run.json").read_text())["spec"]["conditions"]


def rows_of(run):
    return duckdb.sql(f"SELECT * FROM read_parquet('{run.path}/rows/*.parquet')").df()


def judgements_of(path):
    maps = ("correct_by_rule", "scores")
    columns = ", ".join(f"map_from_entries({name}) AS {name}" for name in maps)
    rows = f"SELECT item, output, correct, {columns} FROM '{path}/rows/*.parquet'"
    found = duckdb.sql(rows).fetchall()
    assert found
    return found


def test_the_rows_are_those_of_the_oracle_under_the_same_interventions(model, run):
    items = {item["id"]: item for item in make_items()}
    named = {one["id"]: one["name"] for one in conditions_of(run)}
    found = rows_of(run)
    under = found[found.condition.notna()]
    assert set(under.control) == {"condition"}
    assert under[["component", "source", "target", "donor", "stratum"]].isna().all(axis=None)
    assert len(under) == 2 * len(items)
    changed = 0
    for row in under.itertuples():
        ids = ids_of(model, items[row.item]["main"])
        edits = [(), (CONDITIONS[named[row.condition]],)]
        plain, right = oracle.run_rows(model, ids, edits, max_new_tokens=NEW_TOKENS)
        assert list(row.output_ids) == list(right.ids)
        changed += plain.ids != right.ids
    assert changed > 3


def test_the_control_carries_what_it_says(model, run):
    found = rows_of(run)
    own = found[found.control == "rolled"]
    assert len(own) == 16 * model.n_layers
    items = {item["id"]: item for item in make_items()}
    for row in own.iloc[::7].itertuples():
        true = xl.capture(model, items[row.item]["aux"], "ffn")["ffn"][row.source].roll(1, -1)
        (right,) = oracle.run_rows(
            model,
            ids_of(model, items[row.item]["main"]),
            [(xl.Transplant(Site("ffn", row.target), true),)],
            max_new_tokens=NEW_TOKENS,
        )
        assert list(row.output_ids) == list(right.ids)


def test_a_second_call_does_nothing_and_a_lost_part_is_made_again(model, run, tmp_path):
    first = rows_of(run)
    again = ASKED | {"controls": ["noise", "rolled"]}
    whole = xl.sweep(model, make_items(), out=tmp_path / "run", **again)
    for part in sorted((whole.path / "rows").glob("*.parquet"))[:1]:
        part.unlink()
    xl.sweep(model, make_items(), out=tmp_path / "run", **again)
    key = ["item", "control", "component", "source", "target", "condition"]
    columns = [*key, "output", "prediction", "correct"]
    one, two = (
        frame[columns].sort_values(key).reset_index(drop=True) for frame in (first, rows_of(whole))
    )
    pd.testing.assert_frame_equal(one, two)
    other = again | {"conditions": {"none of 40": ZeroNeurons(Site("neurons", 1), (1, 2))}}
    with pytest.raises(xl.CrosslatentError, match="conditions"):
        xl.sweep(model, make_items(), out=tmp_path / "run", **other)


def test_the_report_shows_both(run, tmp_path):
    files = build_report([run.path], tmp_path / "report")
    summary = json.loads(files.summary.read_text())["runs"][0]
    items = pd.read_parquet(run.path / "items.parquet").set_index("item")
    rows = rows_of(run)
    final = rows[rows.item.map(items.split) == "final"]
    vanilla = final[final.control == "vanilla"].set_index("item").correct.astype(float)
    named = {one["id"]: one["name"] for one in conditions_of(run)}
    figures = {(one["name"], one["split"], one["lang"]): one for one in summary["conditions"]}
    for identity, name in named.items():
        mine = final[final.condition == identity].set_index("item").correct.astype(float)
        told = figures[name, "final", "all"]
        assert told["accuracy"]["value"] == pytest.approx(mine.mean())
        assert told["gain"]["value"] == pytest.approx((mine - vanilla).mean())
        assert (told["gain"]["n"], told["gain"]["clusters"]) == (8, 4)
        assert told["repaired"] == int((mine > vanilla).sum())
        assert told["broken"] == int((mine < vanilla).sum())
    assert {lang for _, _, lang in figures} == {"all", "sw", "es"}
    page = text_of(files.page)
    assert "Under conditions" in page
    assert "none of 40" in page
    assert "Rolled" in page
    assert list((tmp_path / "report" / "figures").glob("*-conditions.svg"))
    table = pd.read_csv(tmp_path / "report" / "tables" / "conditions.csv")
    assert set(table.condition) == set(named.values())
    bounds = pd.read_csv(tmp_path / "report" / "tables" / "bounds.csv")
    assert "rolled" in set(bounds.control)
    rivals = {one["control"] for one in summary["over_controls"][0]["rivals"]}
    assert rivals == {"rolled", "noise"}


def test_the_command_line_takes_the_kind_in_words(model, tmp_path):
    words = ["zero-neurons:1:0,1"]
    run = xl.sweep(model, make_items()[:2], conditions=words, out=tmp_path, max_new_tokens=1)
    (one,) = conditions_of(run)
    assert one["name"] == "zero-neurons:1:0,1"
    assert one["interventions"][0]["numbers"] == [0, 1]


def test_the_rule_and_the_metric_judge_every_row(judged):
    gold = {item["id"]: item["answer"] for item in make_items()}
    rights = set()
    for item, output, correct, by_rule, scores in judgements_of(judged.path):
        rights.add(correct)
        assert correct == by_rule["parity"] == (len(output) % 2 == len(gold[item]) % 2)
        assert set(by_rule) >= {"parity", "option", "contains"}
        assert scores["brevity"] == pytest.approx(min(1, len(gold[item]) / max(1, len(output))))
    assert rights == {True, False}


def test_a_task_that_names_neither_is_judged_as_without_them(model, registered, tmp_path):
    task = xl.load_task(write_task(tmp_path, rule="option", metric="accuracy"))
    run = xl.sweep(model, task, component="ffn", pairs="0:0", out=tmp_path / "run")
    for _, _, _, by_rule, scores in judgements_of(run.path):
        assert set(by_rule) >= {"option", "contains"}
        assert "parity" not in by_rule
        assert "brevity" not in (scores or {})


def test_the_selector_is_tested_saved_and_used(judged, registered, tiny_folder, tmp_path, capsys):
    kept = tmp_path / "boldest.json"
    asked = ["select", judged.path, "--strategy", "boldest", "--save", kept, "--json"]
    assert main([str(argument) for argument in asked]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["selectors"]}
    assert set(found) == {"pilot", "boldest"}
    rows = rows_of(judged)
    items = pd.read_parquet(judged.path / "items.parquet").set_index("item")
    final = rows[(rows.item.map(items.split) == "final") & (rows.control == "none")]
    best = final.loc[final.groupby("item").first_logprob.idxmax()]
    assert found["boldest"]["accuracy"]["value"] == pytest.approx(best.correct.mean())
    assert found["boldest"]["cost"] == 2 + final.groupby("item").size().max()
    saved = load(kept)
    assert isinstance(saved.fitted, FittedBoldest)
    prompts = ["--main", make_items()[0]["main"], "--aux", make_items()[0]["aux"]]
    code = main(["transplant", "--model", str(tiny_folder), "--selector", str(kept), *prompts])
    assert (code, "boldest" in capsys.readouterr().out) == (0, True)


def test_the_report_has_all_of_them(judged, registered, tmp_path):
    files = build_report([judged.path], tmp_path / "report")
    summary = json.loads(files.summary.read_text())
    (run,), (choosing,) = summary["runs"], summary["choosing"]
    assert (run["rule"], run["metric"]) == ("parity", "brevity")
    assert "brevity" in {one["metric"] for one in run["scores"]}
    assert "boldest" in {one["name"] for one in choosing["evaluation"]["selectors"]}
    page = text_of(files.page)
    assert "The answer rule is \u201cparity\u201d." in page
    assert "boldest" in page
    assert "Figures of other packages" in page
    assert "Every way to answer." in page
    drawn = {file.suffix: file for file in files.figures if file.stem == "quiz-ladder"}
    assert set(drawn) == {".png", ".pdf", ".svg", ".csv"}
    table = pd.read_csv(drawn[".csv"]).set_index("control")
    for one in run["accuracy"]:
        if (one["split"], one["lang"]) == ("all", "all"):
            assert table.value[one["name"]] == pytest.approx(one["accuracy"]["value"])


def test_a_saved_selector_is_refused_where_its_package_is_not_installed(
    judged, registered, tmp_path, monkeypatch, capsys
):
    kept = tmp_path / "boldest.json"
    asked = ["select", judged.path, "--strategy", "boldest", "--save", kept]
    assert main([str(argument) for argument in asked]) == 0
    monkeypatch.setattr(SELECTORS, "_kinds", {})
    with pytest.raises(UsageError, match="its kind is 'boldest', which is not installed here"):
        load(kept)


def test_two_selectors_of_one_name_are_refused(judged):
    class Other(xl.Selector):
        name = "pilot"
        about = "another"

        def fit(self, seen, labels):
            raise AssertionError

    with pytest.raises(UsageError, match="Two selectors are called 'pilot' .pilot and .*Other"):
        evaluate_run(RunReader(str(judged.path)), [Other()])


PACKAGE = {
    "plug/__init__.py": "",
    "plug/kinds.py": """
        from dataclasses import dataclass

        import crosslatent as xl
        from crosslatent.core.specs import Site

        @dataclass(frozen=True, eq=False)
        class Double(xl.Intervention):
            site: Site
            tokens: xl.Tokens = xl.ALL

            @classmethod
            def of_text(cls, model, settings):
                yield settings, (cls(Site("ffn", int(settings))),)

            def change(self, own, back=None, /):
                return 2 * own

        class Negative(xl.Control):
            def layers(self, item, variant, component, vectors):
                return -vectors.of(self.reads(item, variant))[component]
        """,
    "plug/judging.py": """
        import crosslatent as xl
        from crosslatent.selectors.base import FixedPairs

        @xl.register_rule("silent", fits=lambda item: True)
        def silent(output, item):
            return xl.Verdict(not output, None)

        @xl.register_metric("length")
        def length(answer, item):
            return 1 / (1 + len(answer.output))

        @xl.register_figure("counts")
        def counts(axes, caption, run):
            table = run.estimates.groupby("table", as_index=False).size()
            axes.barh(table["table"], table["size"])
            return table

        class First(xl.Selector):
            name = "first"
            about = "the first candidate"

            def fit(self, seen, labels):
                return FixedPairs(seen.pairs[0])
        """,
    "plug/broken.py": "import there_is_no_such_module",
}


@pytest.fixture
def crosslatent(tmp_path, monkeypatch, capsys):
    """The command line, where a package with some entry points is installed as pip leaves it."""
    for registry in REGISTRIES:
        own = {name: kind for name, kind in registry._kinds.items() if name in registry.own}
        monkeypatch.setattr(registry, "_kinds", own)

    def call(entries, *arguments):
        folder = tmp_path / "site"
        for name, text in PACKAGE.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(textwrap.dedent(text))
        info = folder / "plug-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(textwrap.dedent(entries))
        with monkeypatch.context() as installed:
            installed.syspath_prepend(folder)
            plugins._installed.cache_clear()
            capsys.readouterr()
            code = main([str(argument) for argument in arguments])
            return code, *capsys.readouterr()

    yield call
    for name in [name for name in sys.modules if name.partition(".")[0] == "plug"]:
        del sys.modules[name]


WORKING = """
    [crosslatent.interventions]
    double = plug.kinds:Double
    [crosslatent.controls]
    negative = plug.kinds:Negative
    """


def test_a_package_brings_kinds_by_entry_points(crosslatent, tmp_path, tiny_folder):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps(item) for item in make_items()))
    code, _, told = crosslatent(
        WORKING, "sweep", "--model", tiny_folder, "--prompts", prompts, "--pairs", "0:0,1:1",
        "--controls", "negative", "--condition", "twice=double:1", "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, told
    rows = duckdb.sql(f"SELECT control, count(*) FROM '{tmp_path}/run/rows/*.parquet' GROUP BY 1")
    counts = dict(rows.fetchall())
    assert counts["negative"] == counts["none"] == 32
    assert counts["condition"] == 16
    # Whoever has not got the package can still read the run.
    build_report([tmp_path / "run"], tmp_path / "report")
    page = text_of(tmp_path / "report" / "report.html")
    assert "Negative" in page
    assert "twice" in page


CANNOT = (
    "cannot be loaded (ModuleNotFoundError: No module named 'there_is_no_such_module'): mend that "
    "package, or uninstall it."
)
TAKEN = "of plug has a name that is taken (by crosslatent): give it another one."


JUDGING = """
    [crosslatent.rules]
    silent = plug.judging:silent
    [crosslatent.metrics]
    length = plug.judging:length
    [crosslatent.selectors]
    first = plug.judging:First
    [crosslatent.figures]
    counts = plug.judging:counts
    """


def test_a_package_brings_ways_to_judge_and_to_choose(crosslatent, tmp_path, tiny_folder):
    task = write_task(tmp_path, rule="silent", metric="length")
    code, _, told = crosslatent(
        JUDGING, "sweep", "--model", tiny_folder, "--task", task, "--pairs", "0:0,1:1",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, told
    for _, output, correct, _, scores in judgements_of(tmp_path / "run"):
        assert correct == (not output)
        assert scores["length"] == pytest.approx(1 / (1 + len(output)))
    code, shown, told = crosslatent(
        JUDGING, "select", tmp_path / "run", "--strategy", "first", "--all"
    )
    assert code == 0, told
    assert "first" in shown
    code, _, told = crosslatent(JUDGING, "report", tmp_path / "run", "--out", tmp_path / "report")
    assert code == 0, told
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    names = {one["name"] for one in summary["choosing"][0]["evaluation"]["selectors"]}
    assert {"first", "pilot", "vote-8"} <= names
    assert (tmp_path / "report" / "figures" / "quiz-counts.pdf").exists()
    for entries, said in (
        ("bad = plug.broken:bad", f"The figure 'bad' of plug {CANNOT}"),
        ("gain = plug.judging:counts", f"The figure 'gain' {TAKEN}"),
        ("wrong = plug.kinds:Negative", "but a function under @register_figure belongs there."),
    ):
        figures = f"[crosslatent.figures]\n{entries}\n"
        out = tmp_path / "refused"
        code, _, told = crosslatent(figures, "report", tmp_path / "run", "--out", out)
        assert code == 2
        assert said in told
        assert not list(out.glob("*"))


@pytest.mark.parametrize(
    ("entries", "task", "sentence"),
    [
        (
            "[crosslatent.rules]\nbad = plug.broken:bad\n",
            {"rule": "bad"},
            f"The answer rule 'bad' of plug {CANNOT}",
        ),
        (
            "[crosslatent.metrics]\nbad = plug.broken:bad\n",
            {"metric": "bad"},
            f"The metric 'bad' of plug {CANNOT}",
        ),
        (
            "[crosslatent.rules]\noption = plug.judging:silent\n",
            {"rule": "option"},
            f"The answer rule 'option' {TAKEN}",
        ),
        (
            "[crosslatent.rules]\nlikelihood = plug.judging:silent\n",
            {"rule": "option"},
            f"The answer rule 'likelihood' {TAKEN}",
        ),
        (
            "[crosslatent.metrics]\naccuracy = plug.judging:length\n",
            {"metric": "f1"},
            f"The metric 'accuracy' {TAKEN}",
        ),
        (
            "[crosslatent.rules]\nwrong = plug.kinds:Negative\n",
            {"rule": "wrong"},
            (
                "The answer rule 'wrong' is <class 'plug.kinds.Negative'>, but a function under "
                "@register_rule belongs there."
            ),
        ),
        (
            "[crosslatent.metrics]\nwrong = plug.kinds:Negative\n",
            {"metric": "wrong"},
            (
                "The metric 'wrong' is <class 'plug.kinds.Negative'>, but a function under "
                "@register_metric belongs there."
            ),
        ),
        (
            JUDGING,
            {"rule": "loud"},
            (
                "FOLDER/quiz.yaml:3: the field 'rule' is 'loud', but one of option, "
                "option_or_label, authors_option_or_label, contains, exact, blend_simple, blend, "
                "silent belongs there."
            ),
        ),
        (
            JUDGING,
            {"metric": "width"},
            (
                "FOLDER/quiz.yaml:4: the field 'metric' is 'width', but one of accuracy, "
                "exact_match, f1, votes, js_similarity, length belongs there."
            ),
        ),
    ],
)
def test_a_way_to_judge_that_does_not_work_is_one_sentence(
    crosslatent, tmp_path, tiny_folder, entries, task, sentence
):
    file = write_task(tmp_path, **{"rule": "option", "metric": "accuracy"} | task)
    found = crosslatent(
        entries, "sweep", "--model", tiny_folder, "--task", file, "--pairs", "0:0",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert found == (2, "", f"Error: {sentence.replace('FOLDER', str(tmp_path))}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("entries", "strategy", "sentence"),
    [
        ("bad = plug.broken:Bad", "bad", f"The selector 'bad' of plug {CANNOT}"),
        ("bad = plug.broken:Bad", "all", f"The selector 'bad' of plug {CANNOT}"),
        ("vote = plug.judging:First", "pilot", f"The selector 'vote' {TAKEN}"),
        ("oracle = plug.judging:First", "pilot", f"The selector 'oracle' {TAKEN}"),
        (
            "wrong = plug.kinds:Negative",
            "wrong",
            (
                "The selector 'wrong' is <class 'plug.kinds.Negative'>, but a class below Selector "
                "belongs there."
            ),
        ),
    ],
)
def test_a_selector_that_does_not_work_is_one_sentence(
    crosslatent, judged, tmp_path, entries, strategy, sentence
):
    group = f"[crosslatent.selectors]\n{entries}\n"
    kept = tmp_path / "kept.json"
    asked = ["--strategy", strategy, *([] if strategy == "all" else ["--save", kept])]
    found = crosslatent(group, "select", judged.path, *asked)
    assert found == (2, "", f"Error: {sentence}\n")
    assert not kept.exists()
    # The report compares all selectors, so it is not made without one of them either.
    code, _, told = crosslatent(group, "report", judged.path, "--out", tmp_path / "report")
    assert (code, told) == (2, f"Error: {sentence}\n")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("entries", "arguments", "sentence"),
    [
        (
            "[crosslatent.controls]\nbad = plug.broken:Bad\n",
            ["--controls", "bad"],
            (
                "The control 'bad' of plug cannot be loaded (ModuleNotFoundError: No module named "
                "'there_is_no_such_module'): mend that package, or uninstall it."
            ),
        ),
        (
            "[crosslatent.interventions]\nbad = plug.kinds:Missing\n",
            ["--condition", "bad:1"],
            (
                "The intervention 'bad' of plug cannot be loaded (AttributeError: module "
                "'plug.kinds' has no attribute 'Missing'): mend that package, or uninstall it."
            ),
        ),
        (
            "[crosslatent.controls]\nnoise = plug.kinds:Negative\n",
            ["--controls", "noise"],
            (
                "The control 'noise' of plug has a name that is taken (by crosslatent): give it "
                "another one."
            ),
        ),
        (
            "[crosslatent.interventions]\nablate = plug.kinds:Double\n",
            ["--condition", "ablate:heads:0:0"],
            (
                "The intervention 'ablate' of plug has a name that is taken (by crosslatent): give "
                "it another one."
            ),
        ),
        (
            "[crosslatent.controls]\nwrong = plug.kinds:Double\n",
            ["--controls", "wrong"],
            (
                "The control 'wrong' is <class 'plug.kinds.Double'>, but a class below Control "
                "belongs there."
            ),
        ),
    ],
)
def test_a_plug_in_that_does_not_work_is_one_sentence(
    crosslatent, tmp_path, tiny_folder, entries, arguments, sentence
):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps(item) for item in make_items()))
    found = crosslatent(
        entries, "sweep", "--model", tiny_folder, "--prompts", prompts, *arguments,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert found == (2, "", f"Error: {sentence}\n")
    assert not (tmp_path / "run").exists()


def test_a_name_is_given_once():
    class Other(Rolled):
        pass

    with pytest.raises(UsageError, match="'rolled' of .* has a name that is taken"):
        xl.register_control("rolled")(Other)
    with pytest.raises(UsageError, match="'self' of .* has a name that is taken .by crosslatent"):
        xl.register_control("self")(Other)
    assert xl.register_control("rolled")(Rolled) is Rolled
    with pytest.raises(UsageError, match="'vote' of .* has a name that is taken .by crosslatent"):
        xl.register_selector("vote")(Boldest)
    with pytest.raises(UsageError, match="'exact' of .* has a name that is taken .by crosslatent"):
        xl.register_rule("exact")(parity)
    with pytest.raises(UsageError, match="'f1' of .* has a name that is taken .by crosslatent"):
        xl.register_metric("f1")(brevity)
    assert [one.name for one in selectors_of("all")].count("vote-8") == 1


def test_a_control_that_fails_is_the_failure_of_its_items(model, tmp_path):
    @xl.register_control("failing-for-two")
    class Failing(xl.Control):
        def layers(self, item, variant, component, vectors):
            if item.id.startswith("es"):
                raise ValueError("no vector in Spanish")
            return torch.zeros_like(vectors.of(self.reads(item, variant))[component])

    run = xl.sweep(
        model, make_items(), pairs="0:0", controls=["failing-for-two"], out=tmp_path / "run",
        max_new_tokens=1,
    )  # fmt: skip
    failed = pd.read_parquet(run.path / "failures.parquet")
    assert set(failed.item) == {item["id"] for item in make_items() if item["lang"] == "es"}
    assert set(failed.reason) == {"ValueError: no vector in Spanish"}
