"""`tiny_tuning.py search ...`: tuning/search.py and what it starts, on corpora of a few short pieces."""

import importlib
import os
import sys
from pathlib import Path

from bachkeras import _start

TUNING = Path(__file__).parent.parent / "tuning"


def main() -> int:
    sys.path.insert(0, str(TUNING))
    _start.tensorflow()  # First, so that its notes are held back.
    import engine
    import tuner
    from conftest import small_corpora

    from bachkeras.data import catalog

    catalog.load = lambda name, split, **_: small_corpora(name)[split]
    tuner.TRIAL = [sys.executable, __file__, "trial"]
    if "BROKEN" in os.environ:
        tuner.TRIAL = [sys.executable, "-c", "mistake"]
    engine.FINISH = [sys.executable, __file__, "bachkeras.cli"]
    return importlib.import_module(sys.argv.pop(1)).main()


sys.exit(main())
