"""`bachkeras ...` on corpora of a few short pieces: a process that test_resume.py kills."""

import sys

from bachkeras import _start, cli


def main() -> int:
    _start.tensorflow()  # First, so that its notes are held back.
    from conftest import small_corpora

    from bachkeras.data import catalog

    catalog.load = lambda name, split, **_: small_corpora(name, voices=2)[split]
    return cli.main()


sys.exit(main())
