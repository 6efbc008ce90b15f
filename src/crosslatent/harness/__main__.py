"""``python -m crosslatent.harness``: the harness's own command line, which knows `crosslatent`."""

from __future__ import annotations

import sys

from crosslatent.core.errors import CrosslatentError
from crosslatent.harness import command

if __name__ == "__main__":
    try:
        sys.exit(command.run(sys.argv[1:]))
    except CrosslatentError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
