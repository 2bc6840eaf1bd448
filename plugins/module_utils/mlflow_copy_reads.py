# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading runs, metric histories and logged models: https://mlflow.org/docs/latest/rest-api.html, 2.x and 3.x alike."""

from __future__ import annotations

import collections
import typing as t
from urllib.parse import quote

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_copy_content, mlflow_resources_api
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import API_3, Client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_copy_content import LoggedModel, Point, Run
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_errors import MlflowError

# Few enough that an answer with long tags stays small.
RUNS_A_PAGE = 250
MODELS_A_PAGE = 50
TRACES_A_PAGE = 500
# Of metrics/get-history-bulk (mlflow/server/handlers.py); what is beyond is left out without a word.
HISTORIES_AT_ONCE, MOST_POINTS = 100, 25000
_AJAX = "/ajax-api/2.0/mlflow/"
_NO_SUCH_THING = ("NOT_IMPLEMENTED", "ENDPOINT_NOT_FOUND", "FEATURE_DISABLED")


def _posted(client: Client, path: str, body: dict[str, t.Any], key: str, **more: t.Any) -> t.Iterator[dict[str, t.Any]]:
    while True:
        answer = client.call("POST", path, body=body, repeatable=True, **more)
        yield from answer.get(key) or []
        token = answer.get("next_page_token")
        if not token:
            return
        body = {**body, "page_token": token}


def runs(client: Client, experiment_ids: t.Sequence[str], view: str = "ALL", where: str = "") -> list[Run]:
    """view: ACTIVE_ONLY, DELETED_ONLY or ALL; where: a filter."""
    body: dict[str, t.Any] = {
        "experiment_ids": list(experiment_ids), "run_view_type": view, "max_results": RUNS_A_PAGE,
        "order_by": ["attributes.start_time ASC"],
    }  # fmt: skip
    if where:
        body["filter"] = where
    return [mlflow_copy_content.run(one) for one in _posted(client, "runs/search", body, "runs")]


def run(client: Client, run_id: str) -> Run | None:
    try:
        return mlflow_copy_content.run(client.call("GET", "runs/get", {"run_id": run_id})["run"])
    except MlflowError as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def history(client: Client, run_id: str, key: str) -> list[Point]:
    """All values of one metric of one run."""
    # Without a page size servers answer all at once.
    query = {"run_id": run_id, "metric_key": key}
    found: list[Point] = []
    while True:
        answer = client.call("GET", "metrics/get-history", query=query)
        found += [mlflow_copy_content.point(one) for one in answer.get("metrics") or []]
        token = answer.get("next_page_token")
        if not token:
            return found
        query["page_token"] = token


def histories(client: Client, of: t.Sequence[Run]) -> dict[str, list[Point]]:
    """All values of all metrics of at most HISTORIES_AT_ONCE runs, by run, in as few requests as can be."""
    found: dict[str, list[Point]] = {run.run_id: [] for run in of}
    having: dict[str, list[str]] = collections.defaultdict(list)
    for run in of:
        for key in sorted({one.key for one in run.latest}):
            having[key].append(run.run_id)
    for key, run_ids in having.items():
        together = _bulk(client, run_ids, key) if len(run_ids) > 1 else None
        if together is None:
            for run_id in run_ids:
                found[run_id] += history(client, run_id, key)
        else:
            for one in together:
                found[str(one["run_id"])].append(mlflow_copy_content.point(one))
    return found


def _bulk(client: Client, run_ids: t.Sequence[str], key: str) -> list[dict[str, t.Any]] | None:
    """None where the server has no such call, or more values than it answers."""
    # A name that is given several times.
    query = "&".join([*(f"run_id={one}" for one in run_ids), f"metric_key={quote(key, safe='')}"])
    answer = client.send("GET", f"{_AJAX}metrics/get-history-bulk?{query}", login=client.login)
    parsed = answer.json()
    if answer.status == 404 or (answer.status == 200 and not isinstance(parsed, dict)):
        return None
    if answer.status != 200:
        raise client.error(answer, "GET", f"{_AJAX}metrics/get-history-bulk")
    found = parsed.get("metrics") or []
    return None if len(found) >= MOST_POINTS else found


def logged_models(client: Client, experiment_ids: t.Sequence[str], where: str = "") -> list[LoggedModel]:
    """Those of MLflow 3; where: a filter."""
    body: dict[str, t.Any] = {"experiment_ids": list(experiment_ids), "max_results": MODELS_A_PAGE}
    if where:
        body["filter"] = where
    return [mlflow_copy_content.logged_model(one) for one in _posted(client, "logged-models/search", body, "models")]


def logged_model(client: Client, model_id: str) -> LoggedModel | None:
    try:
        return mlflow_copy_content.logged_model(client.call("GET", f"logged-models/{model_id}")["model"])
    except MlflowError as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def left_behind(client: Client, experiment_id: str, is_3: bool) -> dict[str, int]:
    """How much an experiment has of what no API carries, by its name in words; is_3: whether the server is MLflow 3."""
    counts = {"traces": _count(_traces(client, experiment_id, is_3))}
    if is_3:
        body = {"experiment_ids": [experiment_id], "max_results": MODELS_A_PAGE}
        counts["evaluation datasets"] = _count(_posted(client, "datasets/search", body, "datasets", api=API_3))
        counts["scorers"] = _count(_scorers(client, experiment_id))
    return {kind: count for kind, count in counts.items() if count}


def _count(found: t.Iterator[t.Any]) -> int:
    try:
        return sum(1 for _one in found)
    except MlflowError as error:
        # Older servers, and file stores, have no such thing; of a deleted experiment no server tells its scorers.
        if error.status in (404, 405, 501) or error.error_code in _NO_SUCH_THING or "'active' state" in error.message:
            return 0
        raise


def _traces(client: Client, experiment_id: str, is_3: bool) -> t.Iterator[dict[str, t.Any]]:
    if is_3:
        place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}
        body = {"locations": [place], "max_results": TRACES_A_PAGE}
        yield from _posted(client, "traces/search", body, "traces", api=API_3)
        return
    query = {"experiment_ids": experiment_id, "max_results": str(TRACES_A_PAGE)}
    yield from mlflow_resources_api.pages(client, "traces", query, "traces")


def _scorers(client: Client, experiment_id: str) -> t.Iterator[dict[str, t.Any]]:
    yield from client.call("GET", "scorers/list", {"experiment_id": experiment_id}, api=API_3).get("scorers") or []
