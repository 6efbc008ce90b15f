"""Options of the released questions on opinions: which of them are no opinion."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from crosslatent.analysis.culture.opinions import kept_options
from crosslatent.core.culture_data import culture_table
from crosslatent.tasks import load_task

DATA = Path(os.environ.get("CROSSLATENT_DATA", "."))
MISSING = frozenset(text.casefold() for text in culture_table("missing_options")["options"])


def test_the_table_names_each_text_once():
    texts = culture_table("missing_options")["options"]
    assert len(texts) == len(MISSING)


@pytest.mark.skipif(
    not (DATA / "GlobalOpinionQA").is_dir(),
    reason="the released data is not here (CROSSLATENT_DATA)",
)
def test_no_opinion_is_left_out_and_no_missing_answer_is_kept():
    left_out, kept = set(), set()
    for item in load_task("globalopinionqa", data=DATA).items:
        labels = item.labels
        places = kept_options(labels, MISSING)
        kept |= {labels[k] for k in places}
        left_out |= {label for k, label in enumerate(labels) if k not in places}
    looks_missing = re.compile(r"don.t know|no answer|\bDK\b|refused|missing", re.IGNORECASE)
    assert left_out
    assert [one for one in left_out if not looks_missing.search(one)] == []
    assert [one for one in kept if looks_missing.search(one)] == []
