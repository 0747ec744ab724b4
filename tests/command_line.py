"""The commands, run in the test's own process."""

from __future__ import annotations

import sys

from bagclip.cli import main


def bagclip(*words):
    """Run a command; it ends as it would in a shell, with the sentence it stopped with, if it did, as SystemExit."""
    old, sys.argv = sys.argv, ["bagclip", *map(str, words)]
    try:
        main()
    except SystemExit as stop:
        if stop.code not in (0, None):
            raise
    finally:
        sys.argv = old
