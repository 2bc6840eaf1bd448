# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a deployment can go from the MLflow that it runs to another one, and how. Everything here is pure."""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_breaking_changes, mlflow_versions
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_rules import version_key

# On the service from before the first change of an upgrade until its end.
TAG = "mlflow-upgrade"
NO_SNAPSHOT = "none"


class Begun(t.NamedTuple):
    """An upgrade that has not come to its end. `snapshot` is the database's from before it, empty for none."""

    old: str
    new: str
    snapshot: str

    def tag(self) -> str:
        """As the tag's value: AWS takes letters, digits, blanks and + - = . _ : / @ there."""
        return f"from={self.old} to={self.new} snapshot={self.snapshot or NO_SNAPSHOT}"


def begun(tag: str | None) -> Begun | None:
    """The upgrade that a tag's value speaks of, None for no tag; ValueError for a value that is not ours."""
    if not tag:
        return None
    parts = dict(part.split("=", 1) for part in tag.split(" ") if "=" in part)
    if set(parts) != {"from", "to", "snapshot"}:
        raise ValueError(f"tag {TAG} = {tag!r}: it is not of an upgrade; remove it from the service")
    return Begun(parts["from"], parts["to"], "" if parts["snapshot"] == NO_SNAPSHOT else parts["snapshot"])


def without(tags: t.Mapping[str, str]) -> dict[str, str]:
    """The tags of a service that are none of an upgrade: whoever keeps its tags must leave that one alone."""
    return {key: value for key, value in tags.items() if key != TAG}


class State(t.NamedTuple):
    """A deployment as it is; `version` is None where there is none."""

    name: str
    version: str | None
    rollout_state: str | None
    desired_count: int
    running_count: int
    db_status: str | None
    tag: str | None


def decide(state: State, wanted: str, supported: list[str], always_snapshot: bool, found: Findings) -> dict[str, t.Any]:
    """What is to be done: `action` is upgrade, finish (all but the end of one is done) or none; refusals go to `found`."""
    unfinished = _unfinished(state, found)
    if state.version is None:
        found.refuse("name", state.name, "there is no such deployment", "deploy it with site.yml first")
    if wanted not in supported:
        found.refuse("version", wanted, "is not a supported version of MLflow", f"choose one of {', '.join(supported)}")
    if found.problems or state.version is None:
        return {}
    old = unfinished.old if unfinished else state.version
    if unfinished and wanted != unfinished.new:
        found.refuse(
            "version",
            wanted,
            f"an upgrade from MLflow {unfinished.old} to {unfinished.new} is not over",
            f"run this again with {unfinished.new} first",
        )
        return {}
    same = mlflow_breaking_changes.same_schema(old, wanted)
    back = version_key(wanted) < version_key(old)
    if back and not same:
        found.refuse(
            "version",
            wanted,
            f"MLflow {old} runs, and an older version cannot read what the schema of its database has become",
            f"stay with {old} or newer, or restore a snapshot from before the upgrade",
        )
    elif back:
        found.warn("version", wanted, f"is older than MLflow {old}, which runs", "the schema is the same, so it can be done")
    if state.version == wanted:
        action = "finish" if unfinished else "none"
    else:
        action = "upgrade"
    if action == "upgrade" and not unfinished:
        _refuse_unready(state, found)
    moves = action != "none" and not same
    return {
        "action": action,
        "running_version": state.version,
        "from_version": old,
        "schema_moves": moves,
        "snapshot": action == "upgrade" and (moves or always_snapshot) and not (unfinished and unfinished.snapshot),
        "snapshot_id": unfinished.snapshot if unfinished else "",
        "settles": moves and _permissions_become_grants(old, wanted),
    }


def _unfinished(state: State, found: Findings) -> Begun | None:
    try:
        return begun(state.tag)
    except ValueError as error:
        found.problems.append(str(error))
        return None


def _refuse_unready(state: State, found: Findings) -> None:
    if state.rollout_state != "COMPLETED" or state.running_count != state.desired_count:
        found.refuse(
            "name",
            state.name,
            f"its tasks are not steady ({state.running_count} of {state.desired_count} run, the rollout is"
            f" {state.rollout_state or 'not known'})",
            "wait for it, or run site.yml with the version that runs",
        )
    elif state.desired_count == 0:
        found.refuse("name", state.name, "no task runs, so no new version could prove itself", "run scale.yml with one task at least")
    if state.db_status != "available":
        found.refuse("name", state.name, f"its database is {state.db_status or 'missing'}", "wait until it is available")


def _permissions_become_grants(old: str, new: str) -> bool:
    parsed = mlflow_versions.parse(old), mlflow_versions.parse(new)
    return None not in parsed and parsed[0] < mlflow_versions.GRANTS <= parsed[1]


def refuse_unplanned(state: State, wanted: str, found: Findings) -> None:
    """For site.yml: a version may change there only where the schema stays and no upgrade is under way."""
    unfinished = _unfinished(state, found)
    if found.problems or state.version is None:
        return
    if unfinished:
        found.refuse(
            "version",
            wanted,
            f"an upgrade from MLflow {unfinished.old} to {unfinished.new} is not over",
            f"run upgrade.yml with {unfinished.new} first",
        )
    elif not mlflow_breaking_changes.same_schema(state.version, wanted):
        found.refuse(
            "version",
            wanted,
            f"MLflow {state.version} runs, and the database's schema must change for another version",
            "run upgrade.yml, which takes a snapshot first and carries permissions over",
        )
