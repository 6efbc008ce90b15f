"""What tables there are, and which figures of a summary are in each: one declaration for all.

Columns are fields, `new=field` renames one. ``*`` marks an estimate (value, interval, n, clusters,
seed), ``~`` one of which a wide table has the value alone, ``^`` a figure with an interval of its
own kind, ``!`` a corrected p-value, and ``@`` what `figure_tables` computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_VERSUS = "true* control_union=control* difference*"
_AT_PAIR = "component pooling split lang in_sample vanilla* transplant*"
_OF_TEST = "component pooling split lang"


@dataclass(frozen=True, slots=True)
class FigureTable:
    """One table, or a part of one.

    Attributes:
        name: of the table, and of its file in a report.
        source: fields from the outermost to what a row is of; mappings and lists are gone through;
            of fields that ``|`` separates, one after the other.
        columns: of the wide table. A field is looked up from the innermost part of the source
            outwards.
        more: columns of the long table alone.
        of: what the source begins at: the summary of each run, what is said of choosing pairs in
            each run (`selectors.Choosing`), or the summary of all runs.
        given_by: what gave the answers, unless a column says so; empty = nothing did.
        in_report: a report has it as a wide table.
        in_papers: it is written as LaTeX, too; tables with a row for every layer or pair are not.
    """

    name: str
    source: str
    columns: str
    more: str = ""
    of: Literal["run", "choosing", "summary"] = "run"
    given_by: str = "none"
    in_report: bool = True
    in_papers: bool = True


TABLES: tuple[FigureTable, ...] = (
    FigureTable(
        "selectors",
        "evaluation > selectors|baselines",
        "tune test selector=name accuracy* gain* recovered* over_shuffled* strict_room* "
        "difference=versus_pilot* p=p_value p_holm cost abstained~ alike=@alike",
        more="shuffled_gain* split=test",
        of="choosing",
    ),
    FigureTable(
        "attribution",
        "attribution > found",
        "component split solvable k found=attribution* random* fixed*",
        more="over_random* over_fixed*",
        of="choosing",
    ),
    FigureTable(
        "attribution",
        "attribution > agreement",
        "component split outcome among=group correlation*",
        of="choosing",
        in_report=False,
    ),
    FigureTable("accuracy", "accuracy", "answered_by=name split lang accuracy* unparseable~"),
    FigureTable(
        "grid",
        "grids > @cells",
        "component split lang source target accuracy gain gain_low gain_high changed "
        "n clusters seed",
        in_papers=False,
    ),
    FigureTable("grid", "grids", "component split lang vanilla*", in_report=False),
    FigureTable(
        "bounds",
        "bounds_versus > overall|by_language",
        f"component control=@control lang=@lang {_VERSUS}",
    ),
    FigureTable(
        "bounds",
        "pass_at_k > versus|by_language|@alone",
        f"component control=name lang=@lang {_VERSUS}",
    ),
    FigureTable(
        "bounds_by_layer",
        "bounds_versus > by_source|by_target",
        f"component control=@control side=@side layer=@layer {_VERSUS}",
        in_papers=False,
    ),
    FigureTable(
        "upper_bounds",
        "upper_bounds > overall|by_language|by_source|by_target",
        "component lang=@lang side=@side layer=@layer union=@itself*",
        in_report=False,
    ),
    FigureTable("upper_bounds", "upper_bounds", "component vanilla*", in_report=False),
    FigureTable(
        "picked",
        "picked > tests",
        "component pooling pairs=@pairs split lang in_sample vanilla* transplant* gain* repaired "
        "broken p=p_value p_test=p_method repaired_format repaired_content broken_unparseable "
        "vanilla_unparseable~ unparseable~",
        more="pair=@pair_of_test",
    ),
    FigureTable(
        "controls_at_pair",
        "picked > tests > controls",
        f"{_OF_TEST} control=@control gain* difference* identity",
        more="accuracy* pair=@pair_of_test",
    ),
    FigureTable(
        "strata",
        "picked > tests > strata",
        f"{_OF_TEST} stratum=name value vanilla* gain*",
        more="pair=@pair_of_test",
    ),
    FigureTable("scores", "scores", "metric answered_by=name split lang score*"),
    FigureTable("scores_at_pair", "scores_at_pair", f"metric {_AT_PAIR} gain*"),
    FigureTable("fidelity", "fidelity", "split lang off_target* outputs", given_by="vanilla"),
    FigureTable(
        "fidelity_at_pair",
        "fidelity_at_pair",
        f"{_AT_PAIR} difference* outputs vanilla_identified transplant_identified",
    ),
    FigureTable("rules", "rules", "rule split judges=@judges accuracy*", given_by="vanilla"),
    FigureTable(
        "follow",
        "follow",
        "component split pair=@pair_or_all share* vanilla_share* difference*",
        given_by="shuffled/different_answer",
    ),
    FigureTable(
        "cost",
        "cost",
        "model rows generated_tokens prompt_tokens seconds rows_per_second",
        given_by="",
    ),
    FigureTable(
        "over_controls",
        "over_controls > rivals",
        "component control strongest=@strongest true* control_union=union* difference* "
        "p=test.p_two_sided permutations=test.permutations",
    ),
    FigureTable(
        "significance",
        "significance > overall|by_language|shared.without",
        "component split lang declared=@declared without_shared_facts=@without_shared gain* "
        "repaired=odds_ratio.repaired broken=odds_ratio.broken test! p_test=method cohens_h^ "
        "odds_ratio^ detectable=detectable.value",
    ),
    FigureTable(
        "layer_tests",
        "layer_tests",
        "component control side layer difference* test!",
        in_papers=False,
    ),
    FigureTable(
        "layers",
        "layers > by_source|by_target",
        "component side=@side layer mean_gain=mean* margin* effective_layers=@effective "
        "share_of_variance=@share",
        in_papers=False,
    ),
    FigureTable(
        "stability",
        "grid_stability > @pick",
        "component split_half=halves^ spearman_brown=halves.full cells=halves.cells n=halves.n "
        "clusters=halves.clusters seed=halves.seed pair=@pair_picked wins_again=share same_source "
        "same_target resamples",
    ),
    FigureTable(
        "languages",
        "languages",
        "component lang other typological_distance same_script text_overlap resource_class gain* "
        "over_control*",
    ),
    FigureTable(
        "correlations",
        "correlations",
        "component figure trait spearman=rho languages test! permutations seed missing",
    ),
    FigureTable(
        "spelling",
        "spelling > same|other",
        "component split in_sample spelled=@spelled vanilla* gain* shuffled_gain=donor* "
        "over_shuffled=over_donor* same_minus_different=difference* languages not_known=unknown",
    ),
    FigureTable(
        "conditions",
        "conditions",
        "condition=name id split lang vanilla* accuracy* gain* repaired broken changed* "
        "p_value=test.p_value holm=test.holm",
    ),
    FigureTable(
        "ways",
        "ways",
        "component=pair.0 pair=@pair_preset answered_by=name split accuracy* gain* best_accuracy* "
        "over_best*",
        in_report=False,
    ),
    FigureTable(
        "modules",
        "modules > halves > measures",
        "type predicted measure gain_attn=attn* gain_ffn=ffn* difference* test! margin outcome "
        "verdict_of_type=verdict verdict=modules.verdict",
        of="summary",
    ),
    FigureTable(
        "repeats",
        "repeats",
        "task run=runs.0 other_run=runs.1 differs component spearman=agreement^ "
        "largest_difference=largest cells=agreement.cells n=agreement.n "
        "clusters=agreement.clusters seed=agreement.seed same_pick=@same_pick",
        of="summary",
    ),
    FigureTable(
        "headline",
        "headline",
        "task component=declared.component pair=@pair_declared split=declared.test vanilla* "
        "transplant* gain* repaired broken p=p_value",
        of="summary",
        in_report=False,
    ),
    FigureTable(
        "headline",
        "headline > controls",
        "task component=declared.component pair=@pair_declared split=declared.test "
        "control=@control accuracy* gain* difference*",
        of="summary",
        in_report=False,
    ),
)
