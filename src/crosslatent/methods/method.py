"""`Method`: a way to get a better answer in another language; `Way`: one that is ready to answer.

A method learns or chooses on pilot questions alone. What it needs when it answers decides its
league: the English counterpart of the same question, given or made by itself, or nothing. Each
method is one registered class in one file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from crosslatent.answering.ask import Prompted, ask
from crosslatent.answering.scoring import ItemScorer
from crosslatent.core.plugins import Registry
from crosslatent.core.specs import AsChat
from crosslatent.interventions.intervention import Intervention
from crosslatent.model.prompts import encode_many
from crosslatent.sweeps.tokens import PromptTokens
from crosslatent.tasks import Item, Task

if TYPE_CHECKING:
    from crosslatent.model import Model

League = Literal["given", "made", "none"]
"""What a method has of the English counterpart of the question that it answers: it is given it,
it makes its own, or it has none."""

Settings = Mapping[str, Any]
"""One configuration of a method: plain data."""

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
        translate: makes English prompts of prompts (text, language -> text); None without a
            translator.
        quick: fewer configurations and shorter training.
        batch_rows: rows per batch; None for what memory holds.
    """

    model: Model
    task: Task
    learn: tuple[Item, ...]
    new_tokens: int
    chat: AsChat = False
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    translate: Callable[[str, str], str] | None = None
    quick: bool = False
    batch_rows: int | None = None

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

    def tokens(self, items: Sequence[Item], new_tokens: int | None = None) -> PromptTokens:
        """Token ids of questions; `failures` has those that the model cannot take."""
        return PromptTokens(
            self.model,
            [item if item.aux else replace(item, aux=item.main) for item in items],
            new_tokens=new_tokens or self.new_tokens,
            chat=self.chat,
        )

    def scorer(self, item: Item, tokens: PromptTokens) -> ItemScorer:
        """What judges an answer to a question's main prompt."""
        return ItemScorer(
            self.model,
            item,
            self.task.rule,
            self.task.metric,
            plain=self.new_tokens,
            spelled=tokens.answers[item.id].main,
        )


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


class Way:
    """A method that is ready to answer questions of some languages.

    Attributes:
        trained: numbers that were learnt.
        labelled: questions whose gold answers were used, to learn from.
        unlabelled: tokens of texts that were learnt from without labels.
        notes: what its results must be read with.
    """

    trained: int = 0
    labelled: int = 0
    unlabelled: int = 0
    notes: tuple[str, ...] = ()

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
        asked = [self.asked(item) for item in items]
        with self.installed():
            tokens = bench.tokens(asked, self.new_tokens(bench))
            taken = [
                (item, one) for item, one in zip(items, asked, strict=True) if one.id in tokens
            ]
            found = ask(
                bench.model,
                [self._prompted(bench, tokens, *both) for both in taken],
                max_new_tokens=self.new_tokens(bench),
                batch_rows=bench.batch_rows,
                advance=advance,
            )
            for item, one in zip(items, asked, strict=True):
                if one.id not in tokens:
                    yield MethodAnswer(item.id, failure=tokens.failures[one.id])
                    continue
                (judged,) = next(found)
                record = {**judged.record, "path": judged.path, "seconds": judged.seconds}
                read = tokens.ends[one.id].main_length + len(judged.decoded.ids)
                yield MethodAnswer(item.id, record, read + self.extra_tokens(item))

    def _prompted(self, bench: Bench, tokens: PromptTokens, item: Item, asked: Item) -> Prompted:
        scorer = bench.scorer(asked, tokens)
        scorer.read = self.read
        return Prompted(tuple(tokens[asked.id].main), (self.edits(item),), scorer)


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
    """

    league: ClassVar[League]
    title: ClassVar[str]
    about: ClassVar[str]
    source: ClassVar[str] = ""
    for_each: ClassVar[bool] = True
    fits: ClassVar[bool] = False
    seeded: ClassVar[bool] = False
    english: ClassVar[bool] = True

    def refusal(self, bench: Bench) -> str:
        """Why it cannot run here, as a sentence; empty if it can."""
        del bench
        return ""

    def settings(self, bench: Bench) -> Sequence[Settings]:
        """The configurations that are tried on the pilot questions; the first wins ties."""
        del bench
        return ({},)

    @abstractmethod
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


METHODS: Registry[type[Method]] = Registry(
    "method", "methods.kinds", "methods.method:Method", hyphens=True
)
"""Classes of methods; other packages name theirs as entry points of ``crosslatent.methods``."""


def register_method(name: str) -> Callable[[_Kind], _Kind]:
    """A decorator that makes a method known under a name.

    Raises:
        UsageError: the name is another method's.
    """
    return METHODS.register(name)
