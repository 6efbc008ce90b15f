"""Llamas whose weights are written down, not trained: what a transplant does in them is known.

A prompt is a name, three options and a colon: ``bada (1)jua (2)bahari (3)mwezi :``; the answer is
a symbol. What a language holds about a name lies in the name's embedding; features are random
orthonormal directions. All else happens at the last token, the colon:

===========  ======================================================================================
block 0 attn  copies from the name what it holds: a RAW text, a RAW symbol, a LATENT symbol
block 0 ffn   RAW text -> TEXT; RAW symbol -> SYMBOL
block 1 attn  looks for the option that says TEXT and writes its SYMBOL; copies the language
block 1 ffn   SYMBOL -> OUT; LATENT symbol -> OUT, louder, but only where the language is English
block 2 attn  copies the language; nothing reads it
head          OUT -> the symbol; "?" where there is no OUT
===========  ======================================================================================

So attention 0 -> 1 is too late for the ffn of block 0, as 1 -> 2 is for that of block 1; at target
2, the answer stays as it was. `predict` says the same of named features, without a weight. Worlds
differ in what names hold, and in the order of English options alone (`Kind`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from crosslatent.model import Model, wrap
from crosslatent.tasks import Item

Kind = Literal["text", "symbol", "guess", "switch"]
"""``text``: English names hold the text of the answer, and English lists its options in another
order. ``symbol``: they hold the symbol, whatever it says. ``guess``: they hold a symbol that has
nothing to do with the right one. ``switch``: names of all languages hold it, latent, and English
is what makes it heard."""

KNOWN = {"id": 5 / 8, "sw": 3 / 8}
"""Share of the facts that a language knows; of the others, half are wrong and half unknown."""

ENGLISH = 7 / 8
TEXTS = {
    "en": ("sun", "moon", "sea"),
    "id": ("matahari", "bulan", "laut"),
    "sw": ("jua", "mwezi", "bahari"),
}
LANGS, SYMBOLS, LAYERS = tuple(TEXTS), 3, 3
COPIES = {"pilot": 1, "final": 2}
"""Facts for each text and each symbol that may be right."""

_WIDTH, _HEAD, _UNITS, _THETA = 64, 32, 16, 1e8
_CONST, _SHARP, _SURE, _LOUD, _UNKNOWN = 4.0, 12.0, 40.0, 1.5, 0.4
_RMS = math.sqrt((_CONST**2 + 4) / _WIDTH)
"""What a norm divides by, nearly: features are orthonormal."""

Vector = NDArray[np.float64]
Feature = tuple[object, ...]


class Seen(NamedTuple):
    """What a prompt says: what its name holds, and which texts its options have, in order."""

    lang: str
    holds: tuple[Feature, ...]
    order: tuple[int, ...]


class Fact(NamedTuple):
    """One fact: its name and prompt in each language, and the right option in them."""

    id: str
    split: str
    names: dict[str, str]
    seen: dict[str, Seen]
    gold: dict[str, int]


@dataclass(frozen=True)
class World:
    """A model, questions about what is planted in it, and the facts by their id."""

    model: Model
    items: list[Item]
    facts: dict[str, Fact]

    def expected(
        self,
        item: str,
        pair: tuple[int, int] | None = None,
        *,
        donor: str | None = None,
        own: bool = False,
    ) -> bool:
        """Whether the answer to an item is right.

        Args:
            item: its id.
            pair: (source, target) of the transplanted attention; None: nothing is transplanted.
            donor: the item whose English prompt the vector is from; None: the item's own.
            own: the vector is from the prompt that is answered.
        """
        fact, lang = self._of(item)
        given = fact.seen[lang] if own else self._of(donor or item)[0].seen["en"]
        return predict(fact.seen[lang], given, pair) == fact.gold[lang]

    def translated(self, item: str) -> bool:
        """Whether the answer to an item's English prompt is right."""
        fact = self._of(item)[0]
        return predict(fact.seen["en"], fact.seen["en"], None) == fact.gold["en"]

    def _of(self, item: str) -> tuple[Fact, str]:
        name, lang = item.split(":")
        return self.facts[name], lang


def plant(kind: Kind, seed: int = 0) -> World:
    """Make a world: deterministic, in about a second."""
    facts = list(_facts(kind, Random(f"{kind} {seed}")))
    items = [_item(fact, lang) for fact in facts for lang in KNOWN]
    return World(_model(facts, seed), items, {fact.id: fact for fact in facts})


def _facts(kind: Kind, rng: Random) -> Iterator[Fact]:
    number = 0
    for split, copies in COPIES.items():
        cases = list(product(range(copies), range(SYMBOLS), range(SYMBOLS)))
        shares = {"en": ENGLISH, **KNOWN}
        beliefs = {lang: _beliefs(len(cases), share, rng) for lang, share in shares.items()}
        for place, (copy, text, symbol) in enumerate(cases):
            mine = {lang: believed[place] for lang, believed in beliefs.items()}
            holds = {lang: _holds(kind, lang, (text, symbol), mine[lang], rng) for lang in LANGS}
            if kind == "guess":  # each symbol is guessed as often, whichever is right
                holds["en"] = (("raw symbol", (text + copy) % SYMBOLS),)
            yield _fact(f"{split}{place:02}", number, (text, symbol), holds, kind == "text", rng)
            number += 1


def _beliefs(number: int, share: float, rng: Random) -> list[str]:
    right = round(share * number)
    wrong = (number - right) // 2
    found = ["right"] * right + ["wrong"] * wrong + ["unknown"] * (number - right - wrong)
    rng.shuffle(found)
    return found


def _fact(
    name: str,
    number: int,
    right: tuple[int, int],
    holds: dict[str, tuple[Feature, ...]],
    turned: bool,
    rng: Random,
) -> Fact:
    """A fact whose options are in a random order; `turned`: English begins elsewhere in it."""
    text, symbol = right
    others = [other for other in range(SYMBOLS) if other != text]
    rng.shuffle(others)
    order = (*others[:symbol], text, *others[symbol:])
    turn = {lang: rng.randrange(1, SYMBOLS) if turned and lang == "en" else 0 for lang in LANGS}
    cut = {lang: SYMBOLS - by for lang, by in turn.items()}
    return Fact(
        id=name,
        split=name[:-2],
        names={lang: _name(len(LANGS) * number + place) for place, lang in enumerate(LANGS)},
        seen={n: Seen(n, holds[n], order[cut[n] :] + order[: cut[n]]) for n in LANGS},
        gold={lang: (symbol + by) % SYMBOLS for lang, by in turn.items()},
    )


def _holds(
    kind: Kind, lang: str, gold: tuple[int, int], belief: str, rng: Random
) -> tuple[Feature, ...]:
    right = gold[0] if kind == "text" else gold[1]
    said = right if belief == "right" else (right + rng.randrange(1, SYMBOLS)) % SYMBOLS
    name = "raw text" if kind == "text" else "raw symbol"
    own: tuple[Feature, ...] = () if belief == "unknown" else ((name, said),)
    if kind != "switch":
        return own
    return (("latent", right), *(() if lang == "en" else own))


def _name(number: int) -> str:
    syllables = [first + vowel for first in "bdgklmnprtvz" for vowel in "aeiou"]
    return "".join(syllables[(number // base) % len(syllables)] for base in (1, len(syllables)))


def _prompt(fact: Fact, lang: str) -> str:
    order = fact.seen[lang].order
    told = [f"({place}){TEXTS[lang][text]}" for place, text in enumerate(order, 1)]
    return " ".join([fact.names[lang], *told, ":"])


def _item(fact: Fact, lang: str) -> Item:
    def labels(of: str) -> tuple[str, ...]:
        return tuple(TEXTS[of][text] for text in fact.seen[of].order)

    return Item(
        id=f"{fact.id}:{lang}",
        lang=lang,
        aux_lang="en",
        main=_prompt(fact, lang),
        aux=_prompt(fact, "en"),
        answer=f"({fact.gold[lang] + 1})",
        aux_answer=f"({fact.gold['en'] + 1})",
        options=tuple(f"({place})" for place in range(1, SYMBOLS + 1)),
        labels=labels(lang),
        aux_labels=labels("en"),
        cluster=fact.id,
        split=fact.split,
    )


def predict(main: Seen, aux: Seen, pair: tuple[int, int] | None) -> int | None:
    """The option, from 0, that the model answers `main` with; None for ``?``.

    Args:
        main: the prompt that is answered.
        aux: the one that the attention of block `pair[0]` is taken from.
        pair: (source, target); None: nothing is transplanted.
    """
    target, given = None, set[Feature]()
    if pair is not None:
        given, target = _run(aux, None, set())[1][pair[0]], pair[1]
    state = _run(main, target, given)[0]
    loudest = [k for k in range(SYMBOLS) if ("latent out", k) in state]
    loudest += [k for k in range(SYMBOLS) if ("out", k) in state]
    return loudest[0] if loudest else None


def _run(
    prompt: Seen, target: int | None, given: set[Feature]
) -> tuple[set[Feature], list[set[Feature]]]:
    """The state after the last block, and what the attention of each block gave."""
    state, gave = set[Feature](), []
    for block in range(LAYERS):
        out: set[Feature] = {("lang", block, prompt.lang)}
        if block == 0:
            out |= set(prompt.holds)
        if block == 1:
            out |= {("symbol", k) for k, t in enumerate(prompt.order) if ("text", t) in state}
        gave.append(out)
        state |= given if block == target else out
        for k in range(SYMBOLS):
            if block == 0:
                state |= {("text", k)} if ("raw text", k) in state else set()
                state |= {("symbol", k)} if ("raw symbol", k) in state else set()
            if block == 1:
                state |= {("out", k)} if ("symbol", k) in state else set()
                heard = {("latent", k), ("lang", 1, "en")} <= state
                state |= {("latent out", k)} if heard else set()
    return state, gave


class _Features:
    """Random orthonormal directions, given out by name."""

    def __init__(self, seed: int) -> None:
        drawn = np.random.default_rng(seed).normal(size=(_WIDTH, _WIDTH))
        self._free = iter(np.linalg.qr(drawn)[0].T)
        self._known: dict[Feature, Vector] = {}

    def __call__(self, *name: object) -> Vector:
        if name not in self._known:
            self._known[name] = next(self._free)
        return self._known[name]

    @property
    def one(self) -> Vector:
        """Its product with every state is 1."""
        return self("const") / _CONST


def _model(facts: Sequence[Fact], seed: int) -> Model:
    names = [fact.names[lang] for fact in facts for lang in LANGS]
    told = [f"({k})" for k in range(1, SYMBOLS + 1)]
    shown = [f"{symbol}{text}" for symbol in told for lang in LANGS for text in TEXTS[lang]]
    vocab = {word: n for n, word in enumerate(["?", "<end>", ":", *told, *shown, *names])}
    assert len(vocab) == 3 + len(told) + len(shown) + len(names)
    backend = Tokenizer(models.WordLevel(vocab, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<end>", pad_token="<end>", model_max_length=16
    )
    config = LlamaConfig(
        vocab_size=len(vocab),
        hidden_size=_WIDTH,
        intermediate_size=_UNITS,
        num_hidden_layers=LAYERS,
        num_attention_heads=_WIDTH // _HEAD,
        num_key_value_heads=_WIDTH // _HEAD,
        max_position_embeddings=16,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=1,
        # Positions turn the slow pairs of a head by less than a thousandth: they do not matter.
        rope_parameters={"rope_type": "default", "rope_theta": _THETA},
    )
    model, feature = LlamaForCausalLM(config).eval(), _Features(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(1.0 if weight.ndim == 1 else 0.0)
        _set(model.get_input_embeddings().weight, _embeddings(facts, vocab, feature))
        _set(model.get_output_embeddings().weight, _readout(vocab, feature))
        for block, layer in enumerate(model.model.layers):
            for name, values in _attention(block, feature).items():
                _set(getattr(layer.self_attn, name).weight, values)
            for name, values in _feed_forward(block, feature).items():
                _set(getattr(layer.mlp, name).weight, values)
    return wrap(model, tokenizer)


def _set(weight: torch.Tensor, values: Vector) -> None:
    weight.copy_(torch.tensor(values))


def _embeddings(facts: Sequence[Fact], vocab: dict[str, int], feature: _Features) -> Vector:
    made = np.tile(feature("const") * _CONST, (len(vocab), 1))
    made[vocab[":"]] += feature("last")
    for fact in facts:
        for lang, seen in fact.seen.items():
            parts = [("name",), ("name lang", lang), *seen.holds]
            made[vocab[fact.names[lang]]] += sum(feature(*part) for part in parts)
    for place in range(SYMBOLS):
        for lang in LANGS:
            for text, word in enumerate(TEXTS[lang]):
                parts = [("option text", text), ("option symbol", place)]
                made[vocab[f"({place + 1}){word}"]] += sum(feature(*part) for part in parts)
    return made


def _readout(vocab: dict[str, int], feature: _Features) -> Vector:
    made = np.zeros((len(vocab), _WIDTH))
    made[vocab["?"]] = feature.one * _UNKNOWN
    for k in range(SYMBOLS):
        made[vocab[f"({k + 1})"]] = feature("out", k)
    return made * _SHARP * _RMS


def _attention(block: int, feature: _Features) -> dict[str, Vector]:
    """Head 0 copies from the name; head 1, in block 1, from the option that is meant."""
    made = {f"{name}_proj": np.zeros((_WIDTH, _WIDTH)) for name in "qkvo"}
    loud = _RMS * math.sqrt(_SURE * math.sqrt(_HEAD))

    def look(head: int, pairs: Sequence[tuple[Vector, Vector]]) -> None:
        for n, (query, key) in enumerate(pairs):
            slow = head * _HEAD + _HEAD // 2 - 1 - n  # the slowest pairs of the rotation
            made["q_proj"][slow], made["k_proj"][slow] = loud * query, loud * key

    def carry(head: int, pairs: Sequence[tuple[Vector, Vector]]) -> None:
        for n, (read, write) in enumerate(pairs):
            made["v_proj"][head * _HEAD + n] = _RMS * read
            made["o_proj"][:, head * _HEAD + n] = write

    held = [
        feature(name, k) for name in ("raw text", "raw symbol", "latent") for k in range(SYMBOLS)
    ]
    spoken = [(feature("name lang", lang), feature("lang", block, lang)) for lang in LANGS]
    look(0, [(feature("last"), feature("name"))])
    carry(0, spoken + [(one, one) for one in held if block == 0])
    if block == 1:
        texts = [(feature("text", t), feature("option text", t)) for t in range(SYMBOLS)]
        symbols = [(feature("option symbol", k), feature("symbol", k)) for k in range(SYMBOLS)]
        # Half a text is not looked for: there, the head rests on the name, which holds no symbol.
        look(1, [*texts, (feature.one / 2, feature("name"))])
        carry(1, symbols)
    return made


def _feed_forward(block: int, feature: _Features) -> dict[str, Vector]:
    """Units that write a feature where another one is, times a third (or times 1)."""
    gate, up = np.zeros((_UNITS, _WIDTH)), np.zeros((_UNITS, _WIDTH))
    down, units = np.zeros((_WIDTH, _UNITS)), list[tuple[Vector, Vector, Vector]]()
    for k in range(SYMBOLS):
        if block == 0:
            units.append((feature("raw text", k), feature.one, feature("text", k)))
            units.append((feature("raw symbol", k), feature.one, feature("symbol", k)))
        if block == 1:
            english = feature("lang", 1, "en")
            units.append((feature("symbol", k), feature.one, feature("out", k)))
            units.append((feature("latent", k), english, _LOUD * feature("out", k)))
    open_at = _SHARP / 2 / (1 + math.exp(-_SHARP / 2))
    for n, (read, times, write) in enumerate(units):
        gate[n] = _SHARP * _RMS * (read - feature.one / 2)
        up[n] = _RMS * times
        down[:, n] = write / open_at
    return {"gate_proj": gate, "up_proj": up, "down_proj": down}
