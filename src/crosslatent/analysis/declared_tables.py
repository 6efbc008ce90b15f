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
_RUNS = "task=tasks.0 run=runs.0 other_run=runs.1"
_COMPARED = f"{_RUNS} measure component lang=@lang"


@dataclass(frozen=True, slots=True)
class FigureTable:
    """One table, or a part of one.

    Attributes:
        name: of the table, and of its file in a report.
        columns: of the wide table. A field is looked up from the innermost part of the source
            outwards.
        source: fields from the outermost to what a row is of; mappings and lists are gone through;
            of fields that ``|`` separates, one after the other. Empty = the field called `name`.
        more: columns of the long table alone.
        of: what the source begins at: the summary of each run, what is said of choosing pairs in
            each run (`selectors.Choosing`), or the summary of all runs.
        given_by: what gave the answers, unless a column says so; empty = nothing did.
        in_report: a report has it as a wide table.
    """

    name: str
    columns: str
    source: str = ""
    more: str = ""
    of: Literal["run", "choosing", "summary"] = "run"
    given_by: str = "none"
    in_report: bool = True


TABLES: tuple[FigureTable, ...] = (
    FigureTable(
        "selectors",
        "tune test selector=name accuracy* gain* recovered* over_shuffled* strict_room* "
        "difference=versus_pilot* p=p_value p_holm cost abstained~ other~ alike=@alike",
        "evaluation > selectors|baselines",
        more="shuffled_gain* split=test",
        of="choosing",
    ),
    FigureTable(
        "attribution",
        "component split solvable k found=attribution* random* fixed*",
        "attribution > found",
        more="over_random* over_fixed*",
        of="choosing",
    ),
    FigureTable(
        "attribution",
        "component split outcome among=group correlation*",
        "attribution > agreement",
        of="choosing",
        in_report=False,
    ),
    FigureTable("accuracy", "answered_by=name split lang accuracy* unparseable~"),
    FigureTable(
        "grid",
        "component split lang source target accuracy gain gain_low gain_high changed "
        "n clusters seed",
        "grids > @cells",
    ),
    FigureTable("grid", "component split lang vanilla*", "grids", in_report=False),
    FigureTable(
        "bounds",
        f"component control=@control lang=@lang {_VERSUS}",
        "bounds_versus > overall|by_language",
    ),
    FigureTable(
        "bounds",
        f"component control=name lang=@lang {_VERSUS}",
        "pass_at_k > versus|by_language|@alone",
    ),
    FigureTable(
        "bounds_by_layer",
        f"component control=@control side=@side layer=@layer {_VERSUS}",
        "bounds_versus > by_source|by_target",
    ),
    FigureTable(
        "upper_bounds",
        "component lang=@lang side=@side layer=@layer union=@itself*",
        "upper_bounds > overall|by_language|by_source|by_target",
        in_report=False,
    ),
    FigureTable("upper_bounds", "component vanilla*", in_report=False),
    FigureTable(
        "picked",
        "component pooling pairs=@pairs split lang in_sample vanilla* transplant* gain* repaired "
        "broken p=p_value p_test=p_method repaired_format repaired_content broken_unparseable "
        "vanilla_unparseable~ unparseable~",
        "picked > tests",
        more="pair=@pair_of_test",
    ),
    FigureTable(
        "controls_at_pair",
        f"{_OF_TEST} control=@control gain* difference* identity",
        "picked > tests > controls",
        more="accuracy* pair=@pair_of_test",
    ),
    FigureTable(
        "strata",
        f"{_OF_TEST} stratum=name value vanilla* gain*",
        "picked > tests > strata",
        more="pair=@pair_of_test",
    ),
    FigureTable("scores", "metric answered_by=name split lang score*"),
    FigureTable("scores_at_pair", f"metric {_AT_PAIR} gain*"),
    FigureTable("fidelity", "split lang off_target* outputs", given_by="vanilla"),
    FigureTable(
        "fidelity_at_pair",
        f"{_AT_PAIR} difference* outputs vanilla_identified transplant_identified",
    ),
    FigureTable("rules", "rule split judges=@judges accuracy*", given_by="vanilla"),
    FigureTable(
        "follow",
        "component split pair=@pair_or_all share* vanilla_share* difference*",
        given_by="shuffled/different_answer",
    ),
    FigureTable(
        "cost", "model rows generated_tokens prompt_tokens seconds rows_per_second", given_by=""
    ),
    FigureTable(
        "over_controls",
        "component control strongest=@strongest true* control_union=union* difference* "
        "p=test.p_two_sided permutations=test.permutations",
        "over_controls > rivals",
    ),
    FigureTable(
        "significance",
        "component split lang declared=@declared without_shared_facts=@without_shared gain* "
        "repaired=odds_ratio.repaired broken=odds_ratio.broken test! p_test=method cohens_h^ "
        "odds_ratio^ detectable=detectable.value",
        "significance > overall|by_language|shared.without",
    ),
    FigureTable("layer_tests", "component control side layer difference* test!"),
    FigureTable(
        "layers",
        "component side=@side layer mean_gain=mean* margin* effective_layers=@effective "
        "share_of_variance=@share",
        "layers > by_source|by_target",
    ),
    FigureTable(
        "stability",
        "component split_half=halves^ spearman_brown=halves.full cells=halves.cells n=halves.n "
        "clusters=halves.clusters seed=halves.seed pair=@pair_picked wins_again=share same_source "
        "same_target resamples",
        "grid_stability > @pick",
    ),
    FigureTable(
        "languages",
        "component lang other typological_distance same_script text_overlap resource_class gain* "
        "over_control*",
    ),
    FigureTable(
        "correlations",
        "component figure trait spearman=rho languages test! permutations seed missing",
    ),
    FigureTable(
        "spelling",
        "component split in_sample spelled=@spelled vanilla* gain* shuffled_gain=donor* "
        "over_shuffled=over_donor* same_minus_different=difference* languages not_known=unknown",
        "spelling > same|other",
    ),
    FigureTable(
        "gain_split",
        "component split lang in_sample source target part=name gap* correct*",
        "gain_split > parts",
    ),
    FigureTable(
        "gain_beside",
        "component split lang in_sample source target control=@control gap* correct* "
        "over_gap* over_correct*",
        "gain_split > beside",
    ),
    FigureTable(
        "gain_recovery",
        "component split lang in_sample source target recovery* recovery_of_means* apart* "
        "left_out no_aux",
        "gain_split",
    ),
    FigureTable(
        "conditions",
        "condition=name id split lang vanilla* accuracy* gain* repaired broken changed* "
        "p_value=test.p_value holm=test.holm",
    ),
    FigureTable(
        "ways",
        "component=pair.0 pair=@pair_preset answered_by=name split accuracy* gain* best_accuracy* "
        "over_best*",
        in_report=False,
    ),
    FigureTable(
        "modules",
        "type predicted measure gain_attn=attn* gain_ffn=ffn* difference* test! margin outcome "
        "verdict_of_type=verdict verdict=modules.verdict",
        "modules > halves > measures",
        of="summary",
    ),
    FigureTable(
        "repeats",
        "task run=runs.0 other_run=runs.1 differs component spearman=agreement^ "
        "largest_difference=largest cells=agreement.cells n=agreement.n "
        "clusters=agreement.clusters seed=agreement.seed same_pick=@same_pick",
        of="summary",
    ),
    FigureTable(
        "compared",
        f"{_COMPARED} first_source=pairs.0.0 first_target=pairs.0.1 second_source=pairs.1.0 "
        "second_target=pairs.1.1 first_control=controls.0 second_control=controls.1 first* second* "
        "difference* margin test! visible outcome",
        "comparison > differences",
        of="summary",
    ),
    FigureTable(
        "compared_by_language",
        f"{_COMPARED} difference=@itself*",
        "comparison > differences > by_language",
        of="summary",
    ),
    FigureTable(
        "difference_map",
        f"{_RUNS} component source target first_gain second_gain difference "
        "difference_low difference_high n clusters seed",
        "comparison > maps > cells",
        of="summary",
    ),
    FigureTable(
        "answers_that_differ",
        "where item other_item lang question first second first_correct second_correct change",
        "comparison > answers",
        of="summary",
    ),
    FigureTable(
        "replication",
        f"{_RUNS} component=declared.component source=pair.0 target=pair.1 "
        "least_gain=declared.least_gain declared_again own_pair first* gain* p=p_value visible "
        "verdict",
        "comparison > replication",
        of="summary",
    ),
    FigureTable(
        "headline",
        "task component=declared.component pair=@pair_declared split=declared.test vanilla* "
        "transplant* gain* repaired broken p=p_value",
        of="summary",
        in_report=False,
    ),
    FigureTable(
        "headline",
        "task component=declared.component pair=@pair_declared split=declared.test "
        "control=@control accuracy* gain* difference*",
        "headline > controls",
        of="summary",
        in_report=False,
    ),
)
