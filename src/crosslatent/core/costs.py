"""What answers cost, counted: tokens, multiply-adds, storage (methods.md, 2).

Plain arithmetic on plain numbers. `crosslatent sweep --dry-run`, `crosslatent overhead`, the
benchmarks and docs/scale.md count with it; `core.hardware` makes seconds of it.

A token costs, in each block, the linear layers (query, key, value, output; gate, up, down), and
the attention products with the keys that it sees (scores, then values). Every new token needs one
vector of logits. Norms, rotations, activations, softmax, the embedding look-up and an intervention
itself are left out: they are no matrix products and cost little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BYTES_PER_NUMBER = 5.3
"""On disk, of a float32 that no other row repeats, as measured."""
BYTES_PER_ROW = 2.0
"""On disk, of what many rows of a part share: item, layers, control, verdicts."""
BYTES_PER_TOKEN = (0.7, 6.0)
"""On disk, of an output's text and ids, by token: where a question has some hundred different
outputs, and where no two rows have the same one."""
_ALWAYS = 5
"""Numbers of every row: gold_logprob, three of the first token, and the smallest margin."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes on disk: if most outputs of a question are alike, and if all are different."""

    low: float
    high: float


def storage(rows: float, tokens: float, options: float, *, scored: bool = False) -> Storage:
    """What rows take on disk.

    Args:
        rows: how many.
        tokens: of an output, on average; 0 if nothing is decoded.
        options: of a question, on average.
        scored: whole options are scored, too: two numbers for each, and one for the gold answer.
    """
    numbers = _ALWAYS + options + (2 * options + 1 if scored else 0)
    same = BYTES_PER_ROW + BYTES_PER_NUMBER * numbers
    low, high = (rows * (same + rate * tokens) for rate in BYTES_PER_TOKEN)
    return Storage(low, high)


def share_left(targets: Sequence[int], layers: int) -> float:
    """Share of the model from the edited block on: all for target 0, about half for all pairs.

    Args:
        targets: layer of each pair that is edited, from 0; without any, all of it is left.
        layers: of the model.
    """
    return 1 - sum(targets) / len(targets) / layers if targets else 1.0


def tokens_through(prompts: float, rows: float, new_tokens: float, left: float) -> float:
    """Tokens through the model with each item's prompts read once.

    A row starts at the last token of the prompt. Below its target block that token is the same in
    all rows, so only the blocks from there on are left to do for it.

    Left out: an item whose rows are cut into several slices has its prompts read again by each, and
    every worker reads the aux prompts of a whole pool once for the control `mean`.

    Args:
        prompts: tokens of all prompts, main and aux.
        rows: rows of all items.
        new_tokens: of an answer; 1 if options are only scored by their first token.
        left: share of the model that is left, on average; see `share_left`.
    """
    return prompts + rows * (new_tokens - 1 + left)


def tokens_apart(prompts_of_item: float, rows: float, new_tokens: float) -> float:
    """Tokens through the model if every row read both prompts again.

    Args:
        prompts_of_item: tokens of main and aux of one item, on average.
        rows: rows of all items.
        new_tokens: of an answer.
    """
    return rows * (prompts_of_item + new_tokens - 1)


def operations(tokens: float, parameters: float) -> float:
    """Floating-point operations of the weights: a multiplication and an addition for each."""
    return 2.0 * parameters * tokens


def attention_operations(tokens: float, context: float, layers: float, width: int) -> float:
    """Floating-point operations of attention itself.

    Every token's query meets the keys of its context, and their values are added up: 4 operations
    for each layer, position and unit of the width.

    Args:
        tokens: through the model.
        context: positions that a token sees, on average.
        layers: of the model.
        width: heads times the size of a head; key-value heads that are shared save memory only.
    """
    return 4.0 * tokens * context * layers * width


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a decoder with blocks like those of Llama: counts of numbers, heads and blocks.

    Attributes:
        gated: the feed-forward has three matrices (gate, up, down), and not two.
        tied: the head is the embedding.
        block_weights: weights of a block's linear layers, where they are not what the sizes give.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    gated: bool = True
    tied: bool = False
    block_weights: int = 0

    @property
    def linear(self) -> int:
        """Weights of one block's linear layers: multiply-adds per token."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        matrices = 3 if self.gated else 2
        counted = self.hidden * (2 * query + 2 * key + matrices * self.intermediate)
        return self.block_weights or counted

    @property
    def key_value_width(self) -> int:
        """Key-value heads times the size of a head."""
        return self.kv_heads * self.head_dim

    @property
    def moved(self) -> int:
        """Weights that a forward reads: all but the embedding, of which it looks up rows."""
        return self.layers * self.linear + self.hidden * self.vocab

    @property
    def parameters(self) -> int:
        """All weights of linear layers and embeddings; norms and biases are left out."""
        return self.moved + (0 if self.tied else self.hidden * self.vocab)


@dataclass(frozen=True, slots=True)
class Operations:
    """Multiply-adds, by where they are; one is two floating-point operations."""

    linear: float = 0.0
    attention: float = 0.0
    head: float = 0.0

    def __add__(self, other: Operations) -> Operations:
        return Operations(
            self.linear + other.linear, self.attention + other.attention, self.head + other.head
        )

    def times(self, count: float) -> Operations:
        """So many times as much."""
        return Operations(count * self.linear, count * self.attention, count * self.head)

    @property
    def total(self) -> float:
        """All multiply-adds."""
        return self.linear + self.attention + self.head

    @property
    def flop(self) -> float:
        """Floating-point operations: a multiplication and an addition each."""
        return 2 * self.total


def forward(
    shape: Shape, tokens: float, seen: float = 0, *, logits: float = 0, share: float = 1.0
) -> Operations:
    """Multiply-adds of reading some tokens one after the other.

    Args:
        shape: of the model.
        tokens: that are read.
        seen: tokens before them, whose keys and values are there.
        logits: tokens whose logits are wanted.
        share: of the blocks that are passed through.
    """
    blocks = share * shape.layers
    keys = tokens * seen + tokens * (tokens + 1) / 2
    return Operations(
        linear=tokens * blocks * shape.linear,
        attention=attention_operations(1, keys, blocks, shape.heads * shape.head_dim) / 2,
        head=logits * shape.hidden * shape.vocab,
    )


@dataclass(frozen=True, slots=True)
class Workload:
    """What one question puts through a model.

    Attributes:
        read: tokens of each prompt that is read for its activations alone.
        answered: tokens of each prompt that is answered.
        forks: edited answers that share one reading of each answered prompt and start at its last
            token; 0 if it has one answer, edited or not.
        left: share of the model that is left for that token of a fork; see `share_left`.
    """

    read: tuple[float, ...] = ()
    answered: tuple[float, ...] = ()
    forks: int = 0
    left: float = 0.5

    @property
    def rows(self) -> int:
        """Answers."""
        return len(self.answered) * max(1, self.forks)

    def tokens(self, new_tokens: int) -> float:
        """Tokens through the model; see `tokens_through`."""
        left = self.left if self.forks else 0.0
        prompts = sum(self.read) + sum(self.answered)
        return tokens_through(prompts, self.rows, new_tokens, left)


@dataclass(frozen=True, slots=True)
class Counted:
    """Multiply-adds of a workload: up to the first new token, and of those after it."""

    prefill: Operations
    decode: Operations

    @property
    def total(self) -> float:
        """All multiply-adds."""
        return self.prefill.total + self.decode.total

    @property
    def flop(self) -> float:
        """Floating-point operations: a multiplication and an addition each."""
        return 2 * self.total


def count(shape: Shape, work: Workload, new_tokens: int) -> Counted:
    """The least work for answers of `new_tokens`, of which the last is chosen and not read.

    For a sweep of R pairs (Q aux tokens, P main tokens, T new ones) these are the Q + P + R (T -
    1/2) tokens of methods.md, 2, and R T vectors of logits.
    """
    prefill, decode = Operations(), Operations()
    each = max(1, work.forks)
    for tokens in work.read:
        prefill += forward(shape, tokens)
    for tokens in work.answered:
        prefill += forward(shape, tokens, logits=each)
        # Forks do not see each other: each has the keys of the prompt.
        prefill += forward(shape, 1, tokens - 1, share=work.left).times(work.forks)
        decode += forward(shape, new_tokens - 1, tokens, logits=new_tokens - 1).times(each)
    return Counted(prefill, decode)


@dataclass(frozen=True, slots=True)
class MethodCost:
    """What a way of answering costs beside the unmodified model.

    Attributes:
        tokens: through the model for one answer.
        relative: multiply-adds, as a multiple of those of one unmodified answer; without a shape,
            that of the tokens.
    """

    tokens: float
    relative: float


def method_cost(
    main: float,
    new_tokens: int,
    *,
    aux: float = 0,
    extra: float = 0,
    passes: int = 1,
    shape: Shape | None = None,
) -> MethodCost:
    """Counted cost of one answer by some method, for tables that compare methods.

    Args:
        main: tokens of the question's own prompt.
        new_tokens: of an answer.
        aux: tokens of a counterpart that is read for its activations, and not answered.
        extra: tokens that the method adds to the prompt, such as examples or a translation.
        passes: prompts that are read and answered, each as long as main and extra together.
        shape: of the model; None counts tokens alone.

    Raises:
        ValueError: a prompt, an answer or the number of passes is empty.
    """
    if main <= 0 or new_tokens < 1 or passes < 1 or min(aux, extra) < 0:
        raise ValueError("main, new_tokens and passes must be above 0, aux and extra 0 or more.")
    plain = Workload(answered=(main,))
    work = Workload(read=(aux,) if aux else (), answered=(main + extra,) * passes)
    tokens = work.tokens(new_tokens)
    if shape is None:
        return MethodCost(tokens, tokens / plain.tokens(new_tokens))
    counted, vanilla = (count(shape, one, new_tokens).total for one in (work, plain))
    return MethodCost(tokens, counted / vanilla)


def cache_bytes(positions: float, layers: int, key_value_width: int, size: int = 2) -> float:
    """Memory of the keys and values of some positions.

    Args:
        positions: tokens that are kept.
        layers: of the model.
        key_value_width: key-value heads times the size of a head.
        size: bytes of a number; 2 in bfloat16.
    """
    return 2.0 * positions * layers * key_value_width * size


def gpu_hours(flops: float, peak: float, utilisation: float) -> float:
    """Hours of one GPU.

    Args:
        flops: floating-point operations.
        peak: operations per second that its maker states.
        utilisation: share of them that is reached, 0 to 1.
    """
    return flops / (peak * utilisation) / 3600


def human_bytes(size: float) -> str:
    """A size for people: 1.5 GB, with powers of ten."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 99.5 or unit == "bytes" else f"{size:.2g} {unit}"


def duration(seconds: float) -> str:
    """A time span for people: "8 s", "2 min 05 s", "3 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
