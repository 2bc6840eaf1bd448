# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Experiments and registered models by name. Everything here is pure."""

from __future__ import annotations

import difflib
import fnmatch
import posixpath
import re
import typing as t

ACTIVE, DELETED = "active", "deleted"
# As 2.18 and 3.17 check them (mlflow/utils/validation.py).
_TAG_KEY = re.compile(r"[/\w.\- :]{1,250}")
_ALIAS = re.compile(r"[\w\-]{1,255}")
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
_MODEL_VERSION = re.compile(r"[1-9][0-9]{0,8}")


class Experiment(t.NamedTuple):
    """lifecycle_stage: active or deleted."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    tags: dict[str, str]


class Model(t.NamedTuple):
    """A registered model; aliases: alias to version."""

    name: str
    description: str
    tags: dict[str, str]
    aliases: dict[str, str]


def _tags(listed: t.Any) -> dict[str, str]:
    return {str(one["key"]): str(one.get("value", "")) for one in listed or []}


def experiment(answer: t.Mapping[str, t.Any]) -> Experiment:
    """From what the server answers."""
    return Experiment(
        str(answer["experiment_id"]),
        str(answer["name"]),
        str(answer.get("artifact_location") or ""),
        str(answer.get("lifecycle_stage") or ACTIVE),
        _tags(answer.get("tags")),
    )


def model(answer: t.Mapping[str, t.Any]) -> Model:
    """From what the server answers."""
    aliases = {str(one["alias"]): str(one["version"]) for one in answer.get("aliases") or []}
    return Model(str(answer["name"]), str(answer.get("description") or ""), _tags(answer.get("tags")), aliases)


def is_pattern(name: str) -> bool:
    """Whether `name` stands for several: * ? and [..], as in a shell."""
    return any(character in name for character in "*?[")


def matching(pattern: str, names: t.Iterable[str]) -> list[str]:
    return sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))


def near(name: str, names: t.Iterable[str]) -> list[str]:
    """At most three names that may have been meant."""
    by_folded = {one.casefold(): one for one in names}
    return [by_folded[one] for one in difflib.get_close_matches(name.casefold(), list(by_folded), n=3, cutoff=0.6)]


def refuse_tags(tags: t.Mapping[t.Any, t.Any] | None) -> None:
    """ValueError with one line for a tag that MLflow would not take, or not as it is written."""
    for given, value in (tags or {}).items():
        key = str(given)
        if not _TAG_KEY.fullmatch(key) or posixpath.normpath(key) != key or key.startswith(("/", "..")) or key == ".":
            raise ValueError(
                f"tags: {key!r} cannot be the key of a tag; give 1 to 250 letters, digits, spaces and _-.:/, no slash"
                " at either end or twice in a row and no . or .. between slashes"
            )
        if value is None or isinstance(value, (dict, list)):
            raise ValueError(f"tags: {key!r} has a value that is no text; give text, a number or a boolean")


def refuse_aliases(aliases: t.Mapping[t.Any, t.Any] | None) -> None:
    """ValueError with one line for an alias that MLflow would not take; whether the version exists is not asked."""
    for given, version in (aliases or {}).items():
        alias = str(given)
        if not _ALIAS.fullmatch(alias):
            raise ValueError(f"aliases: {alias!r} cannot be an alias; give 1 to 255 letters, digits, _ and -")
        if _RESERVED_ALIAS.fullmatch(alias):
            raise ValueError(f"aliases: {alias!r} is reserved by MLflow, as latest and v1 are; choose another")
        if not _MODEL_VERSION.fullmatch(str(version)):
            raise ValueError(f"aliases: {alias!r} is to point to {version!r}; give the number of a version, such as 3")


def unknown(option: str, kind: str, name: str, names: t.Iterable[str]) -> str:
    """One line about a name that nothing has; `kind` such as "experiment"."""
    meant = near(name, names)
    hint = f"did you mean {', '.join(map(repr, meant))}" if meant else "check the spelling, or make it first"
    return f"{option}: {name!r}; there is no {kind} of that name; {hint}"
