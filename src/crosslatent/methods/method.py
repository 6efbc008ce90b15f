"""`Method`: a way to get a better answer in another language; `Way`: one that is ready to answer.

A method learns or chooses on pilot questions alone. What it needs when it answers decides its
league: the English counterpart of the same question, given or made by itself, or nothing. Each
method is one registered class in one file.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from crosslatent.answering.ask import JudgedRow, Prompted, ask
from crosslatent.answering.scoring import ItemScorer
from crosslatent.core.plugins import METHOD_KINDS
from crosslatent.core.specs import AsChat, Component, TransplantSpec
from crosslatent.interventions.intervention import Intervention
from crosslatent.model.prompts import encode_many
from crosslatent.runs.schema import RowKey
from crosslatent.sweeps.control import Donors
from crosslatent.sweeps.tokens import PromptTokens
from crosslatent.sweeps.vectors import Vectors
from crosslatent.tasks import Item, Task

if TYPE_CHECKING:
    from crosslatent.analysis.data import RunData
    from crosslatent.model import Model
    from crosslatent.selectors.division import Division
    from crosslatent.translate import Translator

League = Literal["given", "made", "none"]
"""What a method has of the English counterpart of the question that it answers: it is given it,
it makes its own, or it has none."""

Settings = Mapping[str, Any]
"""One configuration of a method: plain data."""

Read = tuple[tuple[Item, ...], PromptTokens]
CARRIED: tuple[Component, ...] = ("attn", "ffn")
"""What transplants carry here."""

MOST_READ = 16
"""Sets of questions whose token ids are kept."""

_Kind = TypeVar("_Kind", bound="type[Method]")


@dataclass(frozen=True)
class Bench:
    """What methods learn from, and how questions are asked.

    Attributes:
        model: the unmodified model.
        task: its rule and metric judge all methods.
        learn: the pilot questions that a method may learn from, with their gold answers.
        new_tokens: most new tokens of an answer.
        chat: whether prompts go through the chat template.
        texts: further texts by language, for what learns without labels.
        items: all questions of the comparison, those to learn from included; donors of vectors.
        translator: what makes counterparts; None without one.
        quick: fewer configurations and shorter training.
        batch_rows: rows per batch; None for what memory holds.
        whole: whether whole options are scored, not only how likely their first tokens are.
        kept: vectors that were asked for.
        read: questions that were asked last, as most methods ask them, with their token ids.
    """

    model: Model
    task: Task
    learn: tuple[Item, ...]
    new_tokens: int
    chat: AsChat = False
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    items: tuple[Item, ...] = ()
    translator: Translator | None = None
    quick: bool = False
    batch_rows: int | None = None
    whole: bool = False
    kept: dict[int, Vectors] = field(default_factory=dict, repr=False)
    read: dict[tuple[int, ...], Read] = field(default_factory=dict, repr=False)

    def learning_from(self, items: Sequence[Item]) -> Bench:
        """The same with other questions to learn from."""
        return replace(self, learn=tuple(items))

    def of(self, langs: Sequence[str]) -> tuple[Item, ...]:
        """The questions to learn from in some languages."""
        return tuple(item for item in self.learn if item.lang in langs)

    def pairs(self, langs: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Prompts in some languages with their counterparts, each pair once: parallel texts."""
        found = ((one.main, one.aux) for one in self.of(langs) if one.aux)
        return tuple(dict.fromkeys(found))

    def ids(self, prompts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of prompts, asked as questions are."""
        from crosslatent.model.chat import Prompt

        found = encode_many(self.model, [Prompt(text) for text in prompts], chat=self.chat)
        return [tuple(ids) for ids in found]

    def vectors(self, items: Sequence[Item]) -> Vectors:
        """Vectors of the counterparts of questions; those of `items` are the same as a sweep's."""
        name = hash(tuple((item.id, item.aux) for item in items))
        if name not in self.kept:
            asked = self.tokens(items)
            able = [item for item in items if item.aux and item.id in asked]
            self.kept[name] = Vectors(self.model, Donors(able), asked, CARRIED)
        return self.kept[name]

    def tokens(self, items: Sequence[Item], new_tokens: int | None = None) -> PromptTokens:
        """Token ids of questions; `failures` has those that the model cannot take."""
        new_tokens = new_tokens or self.new_tokens
        name = (new_tokens, *map(id, items))
        if name not in self.read:
            if len(self.read) == MOST_READ:
                self.read.pop(next(iter(self.read)))
            asked = [item if item.aux else replace(item, aux=item.main) for item in items]
            found = PromptTokens(
                self.model, asked, new_tokens=new_tokens, chat=self.chat, scoring=self.whole
            )
            self.read[name] = tuple(items), found
        return self.read[name][1]

    def scorer(
        self, item: Item, tokens: PromptTokens, read: Callable[[str], str] | None = None
    ) -> ItemScorer:
        """What judges an answer to a question's main prompt, or the part of it that is read."""
        given: dict[str, Any] = {"plain": self.new_tokens, "whole": self.whole, "read": read}
        given["spelled"] = tokens.answers[item.id].main
        return ItemScorer(self.model, item, self.task.rule, self.task.metric, **given)


@dataclass
class MethodAnswer:
    """One judged answer.

    Attributes:
        item: id of the question.
        record: the columns of `runs.schema.ROWS` that follow from the answer; empty if it failed.
        tokens: through the model for it, prompts included.
        failure: why there is no answer.
    """

    item: str
    record: dict[str, Any] = field(default_factory=dict)
    tokens: int = 0
    failure: str = ""

    @classmethod
    def of(cls, item: Item, judged: JudgedRow, tokens: int) -> MethodAnswer:
        """An answer of the engine."""
        record = {**judged.record, "path": judged.path, "seconds": judged.seconds}
        return cls(item.id, record, tokens)


class Way:
    """A method that is ready to answer questions of some languages.

    Attributes:
        edits_only: it asks the question's own prompt of the model as it is, under `edits`: then
            many such ways are answered together.
        key: of its rows, where they are those of a sweep; None for a condition of its own.
        trained: numbers that were learnt.
        labelled: questions whose gold answers were used, to learn from.
        unlabelled: tokens of texts that were learnt from without labels.
        notes: what its results must be read with.
    """

    edits_only: bool = False
    key: RowKey | None = None
    trained: int = 0
    labelled: int = 0
    unlabelled: int = 0
    notes: tuple[str, ...] = ()

    def prepare(self, items: Sequence[Item], /) -> Mapping[str, str]:
        """Get ready for some questions, before any other call for them.

        Returns:
            Id of a question -> why it cannot be asked.
        """
        del items
        return {}

    def asked(self, item: Item, /) -> Item:
        """The question as it is asked: its `main` is the prompt, and its `answer` judges."""
        return item

    def edits(self, item: Item, /) -> tuple[Intervention, ...]:
        """What is changed while a question is read and answered."""
        del item
        return ()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """While open, the model is the one that answers; its weights are as before afterwards."""
        yield

    def read(self, output: str, /) -> str:
        """The part of an output that is judged."""
        return output

    def beside(self) -> Mapping[RowKey, Way]:
        """Rows that tell why it helps, or not: what answers them, by their keys."""
        return {}

    def extra_tokens(self, item: Item, /) -> int:
        """Tokens through the model beside prompt and answer, such as those of a counterpart."""
        del item
        return 0

    def new_tokens(self, bench: Bench) -> int:
        """Most new tokens of an answer."""
        return bench.new_tokens

    def answers(
        self, bench: Bench, items: Sequence[Item], advance: Callable[[float], None]
    ) -> Iterator[MethodAnswer]:
        """Answers to questions, in their order; one that the model cannot take has a reason.

        Args:
            bench: how they are asked and judged.
            items: the questions.
            advance: gets how many have been answered.
        """
        unable = self.prepare(items)
        asked = {item.id: self.asked(item) for item in items if item.id not in unable}
        with self.installed():
            tokens = bench.tokens(list(asked.values()), self.new_tokens(bench))
            unable = {**unable, **tokens.failures}
            taken = [item for item in items if item.id not in unable]
            found = ask(
                bench.model,
                [
                    Prompted(
                        tuple(tokens[item.id].main),
                        (self.edits(item),),
                        bench.scorer(asked[item.id], tokens, self.read),
                    )
                    for item in taken
                ],
                max_new_tokens=self.new_tokens(bench),
                batch_rows=bench.batch_rows,
                advance=advance,
            )
            for item in items:
                if item.id in unable:
                    yield MethodAnswer(item.id, failure=unable[item.id])
                else:
                    (judged,) = next(found)
                    read = tokens.ends[item.id].main_length + len(judged.decoded.ids)
                    yield MethodAnswer.of(item, judged, read + self.extra_tokens(item))


def answer_together(
    bench: Bench, ways: Sequence[Way], items: Sequence[Item], advance: Callable[[float], None]
) -> Iterator[list[MethodAnswer]]:
    """Answers to questions by several ways that edit only; each prompt is read once.

    Yields:
        For each question, in their order, the answer of each way.
    """
    unable: dict[str, str] = {}
    for way in ways:
        unable |= way.prepare(items)
    tokens = bench.tokens([item for item in items if item.id not in unable])
    unable |= tokens.failures
    taken = [item for item in items if item.id not in unable]
    found = ask(
        bench.model,
        (
            Prompted(
                tuple(tokens[item.id].main),
                tuple(way.edits(item) for way in ways),
                bench.scorer(item, tokens),
            )
            for item in taken
        ),
        max_new_tokens=bench.new_tokens,
        batch_rows=bench.batch_rows,
        advance=advance,
    )
    for item in items:
        if item.id in unable:
            yield [MethodAnswer(item.id, failure=unable[item.id]) for _ in ways]
            continue
        read = tokens.ends[item.id].main_length
        yield [
            MethodAnswer.of(item, judged, read + len(judged.decoded.ids) + way.extra_tokens(item))
            for way, judged in zip(ways, next(found), strict=True)
        ]


class Method(ABC):
    """A way to get better answers.

    Attributes:
        league: what it has of the counterpart of the question that it answers.
        title: what it is called in tables.
        about: what it does, in one sentence.
        source: where it is from; empty for what needs none.
        for_each: whether it is fitted for each language apart; otherwise once for all of them.
        fits: whether it learns from the pilot questions: then its settings are chosen on other
            pilot questions than those that it has learnt from, and it learns again from all.
        seeded: whether a seed changes what it learns.
        english: whether English questions can be answered under it.
        control: it shows what another method does without its point, and is never recommended.
        least: pilot questions that it needs, in each language where `for_each`.
    """

    league: ClassVar[League]
    title: ClassVar[str]
    about: ClassVar[str]
    source: ClassVar[str] = ""
    for_each: ClassVar[bool] = True
    fits: ClassVar[bool] = False
    seeded: ClassVar[bool] = False
    english: ClassVar[bool] = True
    least: ClassVar[int] = 0
    control: ClassVar[bool] = False

    def lacks(self, bench: Bench, langs: Sequence[str]) -> str:
        """What it would need of the questions or the user, as a sentence; empty if nothing.

        Args:
            bench: with the pilot questions.
            langs: the languages that will be asked.
        """
        for group in [(lang,) for lang in langs] if self.for_each else [tuple(langs)]:
            if (there := len(bench.of(group))) < self.least:
                return (
                    f"It learns from {self.least} pilot questions or more in {', '.join(group)}, "
                    f"and there are {there}: add more."
                )
        return ""

    def refusal(self, bench: Bench) -> str:
        """Why it cannot run here, as a sentence; empty if it can."""
        del bench
        return ""

    def settings(self, bench: Bench) -> Sequence[Settings]:
        """The configurations that are tried on the pilot questions; the first wins ties."""
        del bench
        return ({},)

    def by_rows(self, data: RunData, division: Division, seed: int) -> RowChoice | None:
        """How it chooses among rows that the run folder has; None for a method that answers itself.

        Args:
            data: the run folder, with the rows of the questions to choose on.
            division: which these are, and which it is tested on.
            seed: of folds.
        """
        del data, division, seed
        return None

    def fit(self, bench: Bench, langs: Sequence[str], settings: Settings, seed: int) -> Way:
        """Learn what there is to learn, and be ready to answer.

        Args:
            bench: what to learn from.
            langs: the languages of the questions that will be asked.
            settings: one of `settings`.
            seed: of what is drawn.

        Raises:
            CrosslatentError: it cannot be learnt from these questions; the method is then a row
                with this reason.
        """
        del bench, langs, settings, seed
        return Way()


@dataclass(frozen=True, slots=True)
class RowChoice:
    """A choice among rows.

    Attributes:
        pairs: transplants whose rows it needs of the questions that it is tested on.
        choose: from the run folder with these rows, the row of each question, as far as known.
        cost: unmodified answers that one answer costs.
    """

    pairs: tuple[TransplantSpec, ...]
    choose: Callable[[RunData], Mapping[str, RowKey]]
    cost: float


def register_method(name: str) -> Callable[[_Kind], _Kind]:
    """A decorator that makes a method known under a name.

    Raises:
        UsageError: the name is another method's.
    """
    return METHOD_KINDS.register(name)
