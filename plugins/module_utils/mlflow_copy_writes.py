# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing a run or a logged model to the destination, as often as it takes: what is there already is left alone."""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_copy_content,
    mlflow_copy_plan,
    mlflow_copy_reads,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_copy_content import (
    COMPLETE,
    LoggedModel,
    Point,
    Run,
)

# What FinalizeLoggedModel takes for how a logged model ended (mlflow/protos/service.proto, LoggedModelStatus).
ENDED = {"LOGGED_MODEL_READY": 2, "LOGGED_MODEL_UPLOAD_FAILED": 3}


def create_run(client: Client, experiment_id: str, run: Run, source: str) -> Run:
    """The new run, marked before anything else is known of it."""
    body: dict[str, t.Any] = {
        "experiment_id": experiment_id,
        "user_id": run.user,
        # A server makes a name up for a run without one.
        "run_name": run.name or run.run_id,
        "tags": mlflow_copy_content.tag_list(mlflow_copy_plan.marks(source, run.run_id)),
    }
    if run.start is not None:
        body["start_time"] = run.start
    return mlflow_copy_content.run(client.call("POST", "runs/create", body=body)["run"])


def set_lifecycle(client: Client, run_id: str, deleted: bool) -> None:
    client.call("POST", f"runs/{'delete' if deleted else 'restore'}", body={"run_id": run_id}, repeatable=True)


def missing_points(client: Client, there: Run, points: t.Sequence[Point]) -> list[Point]:
    """Those of the points that the copy has not; 2.x fails on NaN that is logged twice."""
    wanted = mlflow_copy_content.sorted_points(points)
    if not there.latest:
        return wanted
    having = set(mlflow_copy_reads.histories(client, [there])[there.run_id])
    return [one for one in wanted if one not in having]


def log_datasets(client: Client, run: Run, there: Run) -> None:
    having = {mlflow_copy_content.dataset_key(one) for one in there.datasets}
    missing = [one for one in run.datasets if mlflow_copy_content.dataset_key(one) not in having]
    if missing:
        body = {"run_id": there.run_id, "datasets": missing}
        client.call("POST", "runs/log-inputs", body=body, repeatable=True)


def log_models(client: Client, run: Run, there: Run, model_ids: t.Mapping[str, str]) -> None:
    """The logged models that the run read and made, as far as the destination has them."""
    read = [model_ids[one] for one in run.model_inputs if one in model_ids]
    missing = [{"model_id": one} for one in read if one not in there.model_inputs]
    if missing:
        client.call("POST", "runs/log-inputs", body={"run_id": there.run_id, "models": missing})
    made = {model_ids[one]: step for one, step in run.outputs.items() if one in model_ids}
    more = [{"model_id": one, "step": step} for one, step in made.items() if one not in there.outputs]
    if more:
        client.call("POST", "runs/outputs", body={"run_id": there.run_id, "models": more})


def log_rest(client: Client, run: Run, there: Run, points: t.Sequence[Point], run_ids: t.Mapping[str, str]) -> None:
    """Status, metrics, parameters and tags; the mark that it is complete comes last."""
    body: dict[str, t.Any] = {"run_id": there.run_id, "status": run.status}
    if run.end is not None:
        body["end_time"] = run.end
    if run.name:
        body["run_name"] = run.name
    client.call("POST", "runs/update", body=body, repeatable=True)
    wanted = mlflow_copy_content.with_ids(run.own_tags(), run_ids)
    for key in there.own_tags():
        if key not in wanted:
            client.call("POST", "runs/delete-tag", body={"run_id": there.run_id, "key": key})
    params = {key: value for key, value in run.params.items() if there.params.get(key) != value}
    tags = {key: value for key, value in wanted.items() if there.tags.get(key) != value}
    tags[COMPLETE] = mlflow_copy_content.seen(run)
    metrics = [mlflow_copy_plan.metric_body(one) for one in missing_points(client, there, points)]
    for batch in mlflow_copy_plan.batches(metrics, params, tags):
        client.call("POST", "runs/log-batch", body={"run_id": there.run_id, **batch}, repeatable=True)


def create_logged_model(
    client: Client, experiment_id: str, model: LoggedModel, source: str, run_ids: t.Mapping[str, str]
) -> LoggedModel:
    marks = mlflow_copy_plan.marks(source, model.model_id)
    body = {
        "experiment_id": experiment_id,
        "name": model.name,
        "model_type": model.model_type,
        "source_run_id": run_ids.get(model.run_id, ""),
        "params": mlflow_copy_content.tag_list(model.params),
        "tags": mlflow_copy_content.tag_list({**model.own_tags(), **marks}),
    }
    return mlflow_copy_content.logged_model(client.call("POST", "logged-models", body=body)["model"])


def finish_logged_model(client: Client, model: LoggedModel, there: LoggedModel, run_ids: t.Mapping[str, str]) -> None:
    """Metrics, tags and how it ended; the mark that it is complete comes last."""
    by_run: dict[str, list[dict[str, t.Any]]] = {}
    for metric in model.metrics:
        run_id = run_ids.get(str(metric.get("run_id")))
        if run_id:
            point = mlflow_copy_content.point(metric)
            more = {key: metric[key] for key in ("dataset_name", "dataset_digest") if metric.get(key)}
            entry = {**mlflow_copy_plan.metric_body(point), "model_id": there.model_id, **more}
            by_run.setdefault(run_id, []).append(entry)
    for run_id, metrics in by_run.items():
        for batch in mlflow_copy_plan.batches(metrics, {}, {}):
            client.call("POST", "runs/log-batch", body={"run_id": run_id, **batch}, repeatable=True)
    path = f"logged-models/{there.model_id}"
    if model.status in ENDED and there.status != model.status:
        body = {"model_id": there.model_id, "status": ENDED[model.status]}
        client.call("PATCH", path, body=body, repeatable=True)
    tags = {**model.own_tags(), COMPLETE: "true"}
    client.call("PATCH", f"{path}/tags", body={"tags": mlflow_copy_content.tag_list(tags)}, repeatable=True)
