# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registered models as values that two servers agree on, and what copying one takes. Everything here is pure."""

from __future__ import annotations

import re
import typing as t
from urllib.parse import unquote, urlsplit

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_copy_plan
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_copy_content import ID, MARKS, SOURCE, pairs
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_resources import Model

# Where a version's files are: below a run, below a logged model, those of another version, or at an address of their own.
RUN, LOGGED, VERSION, ADDRESS = "run", "logged_model", "version", "address"
# Marks a version that only keeps a number free, of one that the source has deleted.
PLACEHOLDER = "migration.placeholder"
NO_STAGE = "None"
# IDs of experiments of the source, which mean others elsewhere (mlflow/prompt/constants.py).
EXPERIMENT_IDS_TAG = "_mlflow_experiment_ids"
# A prompt's text is a tag, and its source says nothing (mlflow/prompt/constants.py).
PROMPT_TAG = "mlflow.prompt.is_prompt"
# Refused in names of models by MLflow 3 (mlflow/utils/validation.py).
REFUSED_IN_NAMES = ("/", ":")

_LOGGED_SOURCE = re.compile(r"models:/(m-[0-9a-f]+)/?")
_VERSION_SOURCE = re.compile(r"models:/([^/]+)/(\d+)")
_RUN_SOURCE = re.compile(r"runs:/([^/]+)/?(.*)")
# What servers reach only for the run or model that it belongs to.
_PROXIED = ("mlflow-artifacts", "http", "https", "", "file")


class Version(t.NamedTuple):
    """A version of a registered model. source: address of its files; model_id: of the logged model it is made of."""

    number: int
    source: str
    run_id: str
    model_id: str
    run_link: str
    description: str
    stage: str
    tags: dict[str, str]

    def own_tags(self) -> dict[str, str]:
        return {key: value for key, value in self.tags.items() if key not in MARKS}


class Spot(t.NamedTuple):
    """kind: one of RUN, LOGGED, VERSION and ADDRESS; id: of the run, model or version (name/number); rest: the path below
    it, or the address."""

    kind: str
    id: str
    rest: str


class VersionStep(t.NamedTuple):
    """What is done for a version: create (there is None), or change what differs."""

    version: Version
    there: Version | None


def version(answer: t.Mapping[str, t.Any]) -> Version:
    """From what the server answers."""
    return Version(
        int(answer["version"]),
        str(answer.get("source") or ""),
        str(answer.get("run_id") or ""),
        str(answer.get("model_id") or ""),
        str(answer.get("run_link") or ""),
        str(answer.get("description") or ""),
        str(answer.get("current_stage") or NO_STAGE),
        pairs(answer.get("tags")),
    )


def is_prompt(tags: t.Mapping[str, str]) -> bool:
    return tags.get(PROMPT_TAG, "").lower() == "true"


def _plain(uri: str) -> str:
    """Local paths without file:// and with nothing quoted."""
    parts = urlsplit(uri)
    return unquote(parts.path).rstrip("/") if parts.scheme in ("", "file") else uri.rstrip("/")


def below(uri: str, root: str) -> str | None:
    """The path of `uri` below the artifacts at `root`; None if it is not there."""
    inner, outer = _plain(uri), _plain(root)
    if not outer or (inner != outer and not inner.startswith(outer + "/")):
        return None
    return inner[len(outer) :].strip("/")


def joined(root: str, rest: str) -> str:
    return f"{root.rstrip('/')}/{rest}" if rest else root


def made_of(versions: t.Iterable[Version]) -> set[str]:
    """Names of the registered models whose versions these are made of."""
    return {found.group(1) for one in versions if (found := _VERSION_SOURCE.fullmatch(one.source))}


def in_order(models: t.Sequence[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The same models, those that others are `made_of` before them."""
    left, placed = list(models), {name for one in models for name in one["made_of"]} - {one["name"] for one in models}
    found: list[dict[str, t.Any]] = []
    while left:
        # Models that are made of each other come as they are.
        ready = [one for one in left if placed.issuperset(one["made_of"])] or left
        found += ready
        placed |= {one["name"] for one in ready}
        left = [one for one in left if one not in ready]
    return found


def named_run(version: Version) -> str:
    """ID of the run that the version names, in one way or the other."""
    found = _RUN_SOURCE.fullmatch(version.source)
    return version.run_id or (found.group(1) if found else "")


def named_model(version: Version) -> str:
    """ID of the logged model that the version names, in one way or the other."""
    found = _LOGGED_SOURCE.fullmatch(version.source)
    return version.model_id or (found.group(1) if found else "")


def spot(version: Version, run_root: str, model_root: str) -> Spot:
    """Where a version's files are; run_root, model_root: addresses of the artifacts of the run and the logged model that
    it names, empty if there are none."""
    found = _VERSION_SOURCE.fullmatch(version.source)
    if found:
        return Spot(VERSION, found.group(1), found.group(2))
    if _LOGGED_SOURCE.fullmatch(version.source):
        return Spot(LOGGED, named_model(version), "")
    found = _RUN_SOURCE.fullmatch(version.source)
    if found:
        return Spot(RUN, found.group(1), found.group(2))
    for kind, identity, root in ((LOGGED, named_model(version), model_root), (RUN, named_run(version), run_root)):
        rest = below(version.source, root) if root else None
        if rest is not None:
            return Spot(kind, identity, rest)
    return Spot(ADDRESS, "", version.source)


def is_reachable(address: str) -> bool:
    """Whether an address of its own means the same at another server."""
    return urlsplit(address).scheme not in _PROXIED


def refuse_name(name: str, major: int) -> None:
    """ValueError with one line for a name that the destination, MLflow of that major version, would not take."""
    bad = [character for character in REFUSED_IN_NAMES if character in name]
    if major >= 3 and bad:
        raise ValueError(
            f"name: {name!r} holds {' and '.join(bad)}, which MLflow 3 refuses in names of models; give another"
            " destination_name"
        )


def place(name: str, wanted: str, there: t.Sequence[Model], source: str, policy: str) -> tuple[str, Model | None, str]:
    """(name at the destination, what is there, why it is left out). ValueError for a clash that is to fail."""
    for one in there:
        if mlflow_copy_plan.is_copy_of(one.tags, source, name):
            return one.name, one, ""
    by_name = {one.name: one for one in there}
    if wanted not in by_name:
        return wanted, None, ""
    if policy == mlflow_copy_plan.SKIP:
        return wanted, None, f"the destination has a registered model {wanted!r} of its own"
    if policy == mlflow_copy_plan.RENAME:
        return mlflow_copy_plan.free_name(wanted, by_name), None, ""
    raise ValueError(
        f"name: {wanted!r}; the destination has a registered model of that name that is no copy of this one; say on_clash:"
        " rename or skip, give another destination_name, or rename it"
    )


def version_copies(versions: t.Iterable[Version], source: str) -> dict[int, Version]:
    """The versions of a destination that are copies, by their numbers at the source."""
    return {
        int(one.tags[ID]): one
        for one in versions
        if one.tags.get(SOURCE) == source and one.tags.get(ID, "").isdecimal()
    }


def differences(of: Version, there: Version) -> list[str]:
    """What of a copy is not as at the source: description, stage, and tags as tag:<key>."""
    found = []
    if of.description != there.description:
        found.append("description")
    if of.stage != there.stage:
        found.append("stage")
    return found + [f"tag:{key}" for key, value in of.own_tags().items() if there.tags.get(key) != value]


def version_steps(versions: t.Iterable[Version], there: t.Mapping[int, Version]) -> list[VersionStep]:
    """In the order of their numbers."""
    steps = [VersionStep(one, there.get(one.number)) for one in sorted(versions)]
    return [one for one in steps if one.there is None or differences(one.version, one.there)]


def aliases_to_set(
    aliases: t.Mapping[str, str], there: t.Mapping[str, str], numbers: t.Mapping[int, int]
) -> dict[str, str]:
    """Alias to version, by the numbers of the destination; `numbers`: from those of the source."""
    wanted = {alias: str(numbers[int(number)]) for alias, number in aliases.items() if int(number) in numbers}
    return {alias: number for alias, number in wanted.items() if there.get(alias) != number}


def model_tags(model: Model) -> dict[str, str]:
    """Those that are carried."""
    return {key: text for key, text in model.tags.items() if key not in (*MARKS, EXPERIMENT_IDS_TAG)}


def model_value(model: Model) -> dict[str, t.Any]:
    """What is carried of a registered model itself."""
    return {"description": model.description, "tags": model_tags(model)}


def version_value(version: Version, spot: Spot) -> dict[str, t.Any]:
    """What is carried of a version; spot: by the IDs of the source."""
    return {
        "description": version.description,
        "stage": version.stage,
        "run_link": version.run_link,
        "tags": version.own_tags(),
        "spot": list(spot),
    }
