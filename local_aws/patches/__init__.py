# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where moto's answers differ from AWS's, or moto only pretends: one file a service.

Each file has `apply(runtime)`. Each patch goes through `replace`, which fails at start when moto has changed under it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any


def replace(owner: Any, name: str, replacement: Callable[..., Any], parameters: tuple[str, ...] | None = None) -> Any:
    """Put `replacement` in the place of `owner.name` and return what was there.

    AttributeError if it is not there; TypeError if its parameters are not `parameters` (when given).
    """
    if not hasattr(owner, name):
        raise AttributeError(f"{owner.__name__}.{name} is gone from moto: the patch for it must be looked at")
    original = inspect.getattr_static(owner, name)
    if parameters is not None:
        found = tuple(inspect.signature(original).parameters)
        if found != parameters:
            raise TypeError(f"{owner.__name__}.{name} takes {found} now, not {parameters}: the patch must be looked at")
    setattr(owner, name, replacement)
    return original


def add(owner: Any, name: str, addition: Callable[..., Any]) -> None:
    """Give `owner` what moto lacks; AttributeError if moto has it by now."""
    if hasattr(owner, name):
        raise AttributeError(f"moto has {owner.__name__}.{name} by now: the patch that adds it must be looked at")
    setattr(owner, name, addition)


def apply_all(runtime: Any) -> None:
    for module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}").apply(runtime)
