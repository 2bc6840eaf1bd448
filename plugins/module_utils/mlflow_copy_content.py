# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs and logged models as values that two servers agree on, whatever IDs they gave them. Everything here is pure."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import typing as t

# Tags of what has been copied: the server it comes from, its ID there, and, set last, what it was like there.
SOURCE, ID, COMPLETE = "migration.source", "migration.id", "migration.complete"
MARKS = (SOURCE, ID, COMPLETE)
RUN_NAME, PARENT, MODEL_HISTORY = "mlflow.runName", "mlflow.parentRunId", "mlflow.log-model.history"
# The server writes it itself, when a version is made of a logged model.
MODEL_VERSIONS = "mlflow.modelVersions"
DELETED = "deleted"


class Point(t.NamedTuple):
    """One value of a metric. timestamp: ms; value: as JSON can hold it, NaN as text."""

    key: str
    step: int
    timestamp: int
    value: float | str


class File(t.NamedTuple):
    """An artifact; path: below the artifacts of its run or logged model."""

    path: str
    size: int


class Run(t.NamedTuple):
    """A run as a search answers it. start, end: ms; latest: its metrics' last values; datasets: inputs as the API has
    them; outputs: ID of a logged model to the step."""

    run_id: str
    experiment_id: str
    name: str
    user: str
    status: str
    start: int | None
    end: int | None
    lifecycle: str
    artifact_uri: str
    params: dict[str, str]
    tags: dict[str, str]
    latest: tuple[Point, ...]
    datasets: tuple[dict[str, t.Any], ...]
    model_inputs: tuple[str, ...]
    outputs: dict[str, int]

    @property
    def tied(self) -> bool:
        """Whether it read or made logged models."""
        return bool(self.model_inputs or self.outputs)

    @property
    def deleted(self) -> bool:
        return self.lifecycle == DELETED

    def own_tags(self) -> dict[str, str]:
        """Without what the server makes of the name, and without our marks."""
        return {key: value for key, value in self.tags.items() if key != RUN_NAME and key not in MARKS}


class LoggedModel(t.NamedTuple):
    """metrics: as the API has them, each with the run that it was logged in."""

    model_id: str
    experiment_id: str
    name: str
    model_type: str
    status: str
    run_id: str
    artifact_uri: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: tuple[dict[str, t.Any], ...]

    def own_tags(self) -> dict[str, str]:
        return {key: value for key, value in self.tags.items() if key != MODEL_VERSIONS and key not in MARKS}


def pairs(listed: t.Any) -> dict[str, str]:
    """Parameters or tags, by key."""
    return {str(one["key"]): str(one.get("value", "")) for one in listed or []}


def tag_list(tags: t.Mapping[str, str]) -> list[dict[str, str]]:
    """As the API takes them."""
    return [{"key": key, "value": value} for key, value in tags.items()]


def number(value: t.Any) -> float | str:
    """A metric's value as every store keeps it: NaN is one value, and databases keep infinity as the largest number
    (mlflow/store/tracking/sqlalchemy_store.py, sanitize_metric_value)."""
    parsed = float(value)
    if math.isnan(parsed):
        return "NaN"
    # Zero has one sign in a key of a database.
    return math.copysign(sys.float_info.max, parsed) if math.isinf(parsed) else parsed + 0.0


def point(answer: t.Mapping[str, t.Any]) -> Point:
    return Point(
        str(answer["key"]), int(answer.get("step") or 0), int(answer.get("timestamp") or 0), number(answer["value"])
    )


def run(answer: t.Mapping[str, t.Any]) -> Run:
    info, data = answer["info"], answer.get("data") or {}
    inputs, outputs = answer.get("inputs") or {}, answer.get("outputs") or {}
    tags = pairs(data.get("tags"))
    return Run(
        str(info.get("run_id") or info["run_uuid"]),
        str(info["experiment_id"]),
        str(info.get("run_name") or tags.get(RUN_NAME, "")),
        str(info.get("user_id") or ""),
        str(info["status"]),
        _time(info.get("start_time")),
        _time(info.get("end_time")),
        str(info.get("lifecycle_stage") or "active"),
        str(info.get("artifact_uri") or ""),
        pairs(data.get("params")),
        tags,
        tuple(point(one) for one in data.get("metrics") or []),
        tuple(_dataset(one) for one in inputs.get("dataset_inputs") or []),
        tuple(str(one["model_id"]) for one in inputs.get("model_inputs") or []),
        {str(one["model_id"]): int(one.get("step") or 0) for one in outputs.get("model_outputs") or []},
    )


def logged_model(answer: t.Mapping[str, t.Any]) -> LoggedModel:
    info, data = answer["info"], answer.get("data") or {}
    return LoggedModel(
        str(info["model_id"]),
        str(info["experiment_id"]),
        str(info.get("name") or ""),
        str(info.get("model_type") or ""),
        str(info.get("status") or ""),
        str(info.get("source_run_id") or ""),
        str(info.get("artifact_uri") or ""),
        pairs(data.get("params")),
        pairs(info.get("tags")),
        tuple(data.get("metrics") or []),
    )


def _time(value: t.Any) -> int | None:
    # Proto leaves out what was never set, and old servers answer 0 for it.
    return int(value) if value else None


def _dataset(answer: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    dataset = answer["dataset"]
    kept = {
        key: str(dataset[key])
        for key in ("name", "digest", "source_type", "source", "schema", "profile")
        if dataset.get(key)
    }
    return {"dataset": kept, "tags": tag_list(dict(sorted(pairs(answer.get("tags")).items())))}


def dataset_key(dataset: t.Mapping[str, t.Any]) -> tuple[str, str]:
    """What makes a dataset one of an experiment."""
    return dataset["dataset"].get("name", ""), dataset["dataset"].get("digest", "")


def with_ids(tags: t.Mapping[str, str], run_ids: t.Mapping[str, str]) -> dict[str, str]:
    """Tags in which the IDs of runs are replaced, as far as they are known."""
    changed = dict(tags)
    if PARENT in changed:
        changed[PARENT] = run_ids.get(changed[PARENT], changed[PARENT])
    for old in _ids_of_history(changed.get(MODEL_HISTORY, "")):
        changed[MODEL_HISTORY] = changed[MODEL_HISTORY].replace(f'"{old}"', f'"{run_ids.get(old, old)}"')
    return changed


def _ids_of_history(history: str) -> set[str]:
    try:
        listed = json.loads(history)
    except ValueError:
        return set()
    if not isinstance(listed, list):
        return set()
    return {str(one["run_id"]) for one in listed if isinstance(one, dict) and one.get("run_id")}


def digest(value: t.Any) -> str:
    """SHA-256 of a value of JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode("ascii")).hexdigest()


def seen(run: Run) -> str:
    """What a search shows of a run at its source; when it changes, the copy is made complete again."""
    return digest([run.name, run.user, run.status, run.start, run.end, run.params, run.tags, sorted_points(run.latest),
                   run.datasets, run.model_inputs, run.outputs])  # fmt: skip


def sorted_points(points: t.Iterable[Point]) -> list[Point]:
    """Without those that a database would take for one, oldest first."""
    return sorted(set(points), key=lambda one: (one.key, one.timestamp, one.step, str(one.value)))


def run_value(
    run: Run, points: t.Iterable[Point], files: t.Iterable[t.Sequence[t.Any]], run_ids: t.Mapping[str, str]
) -> dict[str, t.Any]:
    """All of a run that is carried, but for its ties to logged models. run_ids: from this server's IDs to those at the
    source; files: rows of path, size and maybe hash."""
    return {
        # A copy of a run without a name is called after it, or the server would make a name up.
        "name": "" if run.name == run.tags.get(ID) else run.name,
        "user": run.user,
        "status": run.status,
        "start": run.start,
        "end": run.end,
        "lifecycle": run.lifecycle,
        "params": run.params,
        "tags": with_ids(run.own_tags(), run_ids),
        "metrics": sorted_points(points),
        "datasets": sorted(run.datasets, key=json.dumps),
        "files": sorted(files),
    }


def ties_value(run: Run, model_ids: t.Mapping[str, str]) -> dict[str, t.Any]:
    """The logged models that a run read and made. model_ids: from this server's IDs to those at the source."""
    return {
        "model_inputs": sorted(model_ids.get(one, one) for one in run.model_inputs),
        "outputs": {model_ids.get(one, one): step for one, step in run.outputs.items()},
    }


def model_value(
    model: LoggedModel, files: t.Iterable[t.Sequence[t.Any]], run_ids: t.Mapping[str, str]
) -> dict[str, t.Any]:
    """All of a logged model that is carried."""
    metrics = [
        [
            *point(one),
            run_ids.get(str(one.get("run_id")), str(one.get("run_id"))),
            one.get("dataset_name"),
            one.get("dataset_digest"),
        ]
        for one in model.metrics
    ]
    return {
        "name": model.name,
        "model_type": model.model_type,
        "status": model.status,
        "run_id": run_ids.get(model.run_id, model.run_id),
        "params": model.params,
        "tags": model.own_tags(),
        "metrics": sorted(metrics, key=json.dumps),
        "files": sorted(files),
    }
