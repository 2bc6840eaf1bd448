# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what copying an experiment takes: where it goes, which runs are missing or unfinished, in which requests.
Everything here is pure."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_copy_content import (
    COMPLETE,
    ID,
    PARENT,
    SOURCE,
    LoggedModel,
    Point,
    Run,
    seen,
    tag_list,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_resources import DELETED, Experiment

FAIL, RENAME, SKIP = "fail", "rename", "skip"
POLICIES = (FAIL, RENAME, SKIP)
DEFAULT_EXPERIMENT = "0"
# Of one runs/log-batch (mlflow/utils/validation.py); its size is counted as the JSON that is sent.
MOST_METRICS, MOST_PARAMS, MOST_TAGS, MOST_ENTITIES, MOST_BYTES = 1000, 100, 100, 1000, 900_000
# What each run or experiment is that is copied.
COPY, FINISH, DELETE, RESTORE = "copy_run", "finish_run", "delete_run", "restore_run"


class Place(t.NamedTuple):
    """Where an experiment goes; current: what is there; skipped: why it is left out."""

    name: str
    current: Experiment | None
    skipped: str = ""


class RunStep(t.NamedTuple):
    """What is done for a run of the source; there: what is at the destination."""

    action: str
    run: Run
    there: Run | None


def marks(source: str, identity: str) -> dict[str, str]:
    return {SOURCE: source, ID: identity}


def is_copy_of(tags: t.Mapping[str, str], source: str, identity: str) -> bool:
    return tags.get(SOURCE) == source and tags.get(ID) == identity


def free_name(name: str, taken: t.Container[str]) -> str:
    """A name like `name` that nothing has."""
    candidate, number = f"{name}-migrated", 1
    while candidate in taken:
        number += 1
        candidate = f"{name}-migrated-{number}"
    return candidate


def place(experiment: Experiment, name: str, there: t.Sequence[Experiment], source: str, policy: str) -> Place:
    """Where the experiment goes among all those of the destination. ValueError for a clash that is to fail."""
    for one in there:
        if is_copy_of(one.tags, source, experiment.experiment_id):
            return Place(one.name, one)
    # Every server has it, and cannot be without.
    if experiment.experiment_id == DEFAULT_EXPERIMENT:
        default = [one for one in there if one.experiment_id == DEFAULT_EXPERIMENT]
        if default:
            return Place(default[0].name, default[0])
    by_name = {one.name: one for one in there}
    if name not in by_name:
        return Place(name, None)
    is_deleted = "a deleted" if by_name[name].lifecycle_stage == DELETED else "an"
    if policy == SKIP:
        return Place(name, None, f"the destination has {is_deleted} experiment {name!r} of its own")
    if policy == RENAME:
        return Place(free_name(name, by_name), None)
    raise ValueError(
        f"name: {name!r}; the destination has {is_deleted} experiment of that name that is no copy of this one; say"
        " on_clash: rename or skip, give another destination_name, or rename it"
    )


def experiment_tags(experiment: Experiment, there: Experiment | None, source: str) -> dict[str, str]:
    """Tags that are still to be set. The default experiment is that of many sources, and keeps what it has."""
    if experiment.experiment_id == DEFAULT_EXPERIMENT and there and there.experiment_id == DEFAULT_EXPERIMENT:
        return {key: value for key, value in experiment.tags.items() if key not in there.tags}
    wanted = {**experiment.tags, **marks(source, experiment.experiment_id)}
    return {key: value for key, value in wanted.items() if there is None or there.tags.get(key) != value}


def copies(runs: t.Iterable[Run], source: str) -> dict[str, Run]:
    """The runs of a destination that are copies, by their IDs at the source. ValueError for two of one run."""
    found: dict[str, Run] = {}
    for one in runs:
        identity = one.tags.get(ID, "")
        if one.tags.get(SOURCE) != source or not identity:
            continue
        other = found.get(identity)
        if other and not other.deleted and not one.deleted:
            raise ValueError(
                f"the destination has two copies of run {identity}, {other.run_id} and {one.run_id}, as two migrations at"
                " once make them; delete one of them, and run one migration at a time"
            )
        if other is None or (bool(one.tags.get(COMPLETE)), not one.deleted) > (
            bool(other.tags.get(COMPLETE)),
            not other.deleted,
        ):
            found[identity] = one
    return found


def run_steps(
    runs: t.Sequence[Run], there: t.Mapping[str, Run], all_deleted: bool, revived: bool, refresh: bool
) -> list[RunStep]:
    """What is left to do, runs without a parent first. all_deleted: their experiment is deleted at the source, and they
    with it; revived: it is deleted at the destination and will be restored, and they with it; refresh: copy again what
    is complete."""
    steps = []
    for run in by_depth(runs):
        copy = there.get(run.run_id)
        if copy is None:
            steps.append(RunStep(COPY, run, None))
        elif refresh or copy.tags.get(COMPLETE) != seen(run):
            steps.append(RunStep(FINISH, run, copy))
        elif not all_deleted and (copy.deleted and not revived) != run.deleted:
            steps.append(RunStep(DELETE if run.deleted else RESTORE, run, copy))
    return steps


def by_depth(runs: t.Sequence[Run]) -> list[Run]:
    """The same runs, every parent before its children."""
    return [run for wave in waves(runs) for run in wave]


def waves(runs: t.Sequence[Run]) -> list[list[Run]]:
    """Runs that may be copied at the same time, since their parents are in an earlier wave."""
    by_id = {run.run_id: run for run in runs}
    depths: dict[str, int] = {}
    for run in runs:
        chain: list[str] = []
        current: Run | None = run
        while current and current.run_id not in depths and current.run_id not in chain:
            chain.append(current.run_id)
            current = by_id.get(current.tags.get(PARENT, ""))
        depth = depths.get(current.run_id, -1) if current else -1
        for identity in reversed(chain):
            depth += 1
            depths[identity] = depth
    found: list[list[Run]] = [[] for _depth in range(max(depths.values(), default=-1) + 1)]
    for run in runs:
        found[depths[run.run_id]].append(run)
    return found


def strangers(runs: t.Iterable[Run], run_ids: t.Container[str], model_ids: t.Container[str]) -> t.Iterator[str]:
    """One line for each tie of a run to what is not of its experiment, and will not be carried."""
    for run in runs:
        parent = run.tags.get(PARENT)
        if parent and parent not in run_ids:
            yield f"run {run.run_id}: its parent run {parent} is not carried with it, and keeps the ID of the source"
        unknown = sorted({one for one in (*run.model_inputs, *run.outputs) if one not in model_ids})
        if unknown:
            yield f"run {run.run_id}: its logged models {', '.join(unknown)} are not carried with it, and the tie to them is lost"


def batches(
    metrics: t.Iterable[t.Mapping[str, t.Any]], params: t.Mapping[str, str], tags: t.Mapping[str, str]
) -> list[dict[str, t.Any]]:
    """Bodies of runs/log-batch, without the run, as few as the API allows; tags come last and in their order."""
    entries = [("metrics", one) for one in metrics]
    entries += [("params", one) for one in tag_list(params)]
    entries += [("tags", one) for one in tag_list(tags)]
    most = {"metrics": MOST_METRICS, "params": MOST_PARAMS, "tags": MOST_TAGS}
    found: list[dict[str, t.Any]] = []
    size, entities = 0, 0
    for kind, entry in entries:
        length = len(json.dumps(entry)) + 2
        full = found and (
            len(found[-1].get(kind, [])) >= most[kind] or entities >= MOST_ENTITIES or size + length > MOST_BYTES
        )
        if not found or full:
            found.append({})
            size, entities = 0, 0
        found[-1].setdefault(kind, []).append(entry)
        size, entities = size + length, entities + 1
    return found


def metric_body(point: Point) -> dict[str, t.Any]:
    """As runs/log-batch takes it."""
    return {"key": point.key, "value": point.value, "timestamp": point.timestamp, "step": point.step}


def model_steps(
    models: t.Sequence[LoggedModel], there: t.Mapping[str, LoggedModel], refresh: bool
) -> list[LoggedModel]:
    """Logged models that are missing or unfinished."""
    return [one for one in models if refresh or one.model_id not in there or not there[one.model_id].tags.get(COMPLETE)]
