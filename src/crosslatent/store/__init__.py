"""Run folders: what a sweep writes, how it resumes, and how everything downstream reads it.

Never sees a model. `schema` says what a row means, `folder` writes, `reader` reads through DuckDB,
`export` hands rows to other tools.
"""

from crosslatent.store.folder import RunFolder
from crosslatent.store.reader import RunReader

__all__ = ["RunFolder", "RunReader"]
