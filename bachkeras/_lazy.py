"""Names that are imported when they are first used (PEP 562), so that importing a package loads no TensorFlow."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def lazy(package: str, homes: Mapping[str, str]) -> tuple[Callable, Callable, list[str]]:
    """What a package needs to offer names lazily.

    Args:
        package: name of the package that offers them.
        homes: name: the module that holds it; a module of that name itself where the two end alike.

    Returns:
        Its `__getattr__`, `__dir__` and `__all__`.
    """

    def get(name: str):
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(homes[name])
        return module if homes[name] == f"{package}.{name}" else getattr(module, name)

    return get, lambda: sorted(homes), sorted(homes)
