"""One prefix for many rows: keys and values of a prompt computed once and used by all its rows.

Attention is causal and only the end of the prompt is edited, so what comes before is the same for
every row of a sweep (docs/methods.md, 2). Two forms:

- `cache` + `attention`: rows keep only their own tokens, and attend to the one prefix beside them;
- `expanded`: the prefix is copied into a cache of every row, for models whose attention cannot be
  replaced.
"""

from crosslatent.engine.prefix.attention import (
    Unshareable,
    shared_attention,
    takes_attention_functions,
)
from crosslatent.engine.prefix.cache import Prefix, SharedCache
from crosslatent.engine.prefix.expanded import PrefixRows, copies
from crosslatent.engine.prefix.reading import read
from crosslatent.engine.prefix.slots import select
from crosslatent.engine.prefix.step import Step

__all__ = [
    "Prefix",
    "PrefixRows",
    "SharedCache",
    "Step",
    "Unshareable",
    "copies",
    "read",
    "select",
    "shared_attention",
    "takes_attention_functions",
]
