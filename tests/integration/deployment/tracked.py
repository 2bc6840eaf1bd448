# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server keeps, put there and read back by its API alone, so that any two versions can be compared."""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import json
import typing as t
import urllib.error
import urllib.parse
import urllib.request

PASSWORD = "quite-a-long-password"
USERS = ("ann", "bob", "cyd")


class Api:
    """A server as one user sees it."""

    def __init__(self, uri: str, login: tuple[str, str]) -> None:
        self.uri = uri
        self.headers = {
            "Authorization": "Basic " + base64.b64encode(":".join(login).encode()).decode(),
            "Content-Type": "application/json",
        }

    def send(self, method: str, path: str, data: bytes | None = None) -> tuple[int, bytes]:
        request = urllib.request.Request(f"{self.uri}{path}", data, self.headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def call(self, method: str, path: str, api: str = "2.0", **values: t.Any) -> dict:
        query, body = ("?" + urllib.parse.urlencode(values), None) if method == "GET" else ("", json.dumps(values).encode())
        status, answer = self.send(method, f"/api/{api}/mlflow/{path}{query}", body)
        assert status == 200, f"{method} {path} {values}: {status} {answer[:300]!r}"
        return json.loads(answer)


def populate(admin: Api, runs: int) -> None:
    """Experiments with runs, metrics and artifacts, a model with versions, three users, and ten permissions, two of them refusals."""
    experiments = [admin.call("POST", "experiments/create", name=f"experiment {number}")["experiment_id"] for number in range(4)]

    def add(number: int) -> str:
        experiment_id, moment = experiments[number % 4], 1_700_000_000_000 + number
        made = admin.call("POST", "runs/create", experiment_id=experiment_id, start_time=moment, run_name=f"run {number}",
                          tags=[{"key": "number", "value": str(number)}])  # fmt: skip
        run_id = made["run"]["info"]["run_id"]
        metrics = [{"key": "auc", "value": 1 / (step + number + 1), "timestamp": moment + step, "step": step} for step in range(5)]
        admin.call("POST", "runs/log-batch", run_id=run_id, metrics=metrics, params=[{"key": "depth", "value": str(number)}])
        if number % 20 == 0:
            path = f"/api/2.0/mlflow-artifacts/artifacts/{experiment_id}/{run_id}/artifacts/model/{number}.bin"
            status, answer = admin.send("PUT", path, bytes(str(number), "ascii") * 1000)
            assert status == 200, answer
        return run_id

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        run_ids = list(pool.map(add, range(runs)))
    admin.call("POST", "registered-models/create", name="churn", tags=[{"key": "team", "value": "crm"}])
    for run_id in run_ids[:3]:
        admin.call("POST", "model-versions/create", name="churn", source=f"runs:/{run_id}/model", run_id=run_id)
    admin.call("POST", "registered-models/alias", name="churn", alias="champion", version="2")
    for name in USERS:
        admin.call("POST", "users/create", username=name, password=PASSWORD)
    permissions = [("ann", 0, "MANAGE"), ("ann", 1, "READ"), ("ann", 2, "NO_PERMISSIONS"), ("bob", 0, "READ"), ("bob", 1, "EDIT"),
                   ("bob", 3, "READ"), ("cyd", 0, "READ"), ("cyd", 3, "EDIT")]  # fmt: skip
    for name, number, permission in permissions:
        admin.call("POST", "experiments/permissions/create", username=name, experiment_id=experiments[number], permission=permission)
    for name, permission in (("ann", "EDIT"), ("bob", "NO_PERMISSIONS")):
        admin.call("POST", "registered-models/permissions/create", username=name, name="churn", permission=permission)


def pairs(items: list[dict] | None) -> list[list]:
    return sorted([one["key"], one["value"]] for one in items or [])


def dump(admin: Api) -> dict[str, t.Any]:
    """All that is tracked, without what a version only adds."""
    found = admin.call("POST", "experiments/search", max_results=1000, view_type="ALL")["experiments"]
    experiments = {one["experiment_id"]: [one["name"], one["lifecycle_stage"], one["artifact_location"]] for one in found}
    runs, page = {}, ""
    while True:
        answer = admin.call("POST", "runs/search", experiment_ids=sorted(experiments), max_results=500, page_token=page)
        for run in answer.get("runs", []):
            info, data = run["info"], run["data"]
            runs[info["run_id"]] = {
                **{key: info.get(key) for key in ("run_name", "experiment_id", "status", "start_time", "lifecycle_stage", "artifact_uri")},
                "params": pairs(data.get("params")), "tags": pairs(data.get("tags")),
                "metrics": sorted([one["key"], one["value"], one["step"], one["timestamp"]] for one in data.get("metrics", [])),
            }  # fmt: skip
        page = answer.get("next_page_token", "")
        if not page:
            break
    history = {
        run_id: sorted([one["step"], one["value"]] for one in answer["metrics"])
        for run_id in sorted(runs)[:10]
        if (answer := admin.call("GET", "metrics/get-history", run_id=run_id, metric_key="auc")).get("metrics")
    }
    artifacts = {}
    for run_id, run in sorted(runs.items()):
        number = dict(run["tags"]).get("number", "1")
        if int(number) % 20 == 0:
            path = f"/api/2.0/mlflow-artifacts/artifacts/{run['experiment_id']}/{run_id}/artifacts/model/{number}.bin"
            artifacts[run_id] = hashlib.sha256(admin.send("GET", path)[1]).hexdigest()
    models = admin.call("GET", "registered-models/search").get("registered_models", [])
    versions = admin.call("GET", "model-versions/search", max_results=1000).get("model_versions", [])
    return {
        "experiments": experiments, "runs": runs, "history": history, "artifacts": artifacts,
        "models": sorted([one["name"], pairs(one.get("tags")), one.get("aliases", [])] for one in models),
        "versions": sorted([one["name"], one["version"], one["run_id"], one["source"], one["status"]] for one in versions),
    }  # fmt: skip


def digest(kept: dict[str, t.Any]) -> str:
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def access(uri: str) -> dict[str, list[int]]:
    """What each user gets: reading each of the four experiments, writing to it, reading the model, writing to it."""
    found = {}
    for name in USERS:
        user = Api(uri, (name, PASSWORD))
        reads = [user.send("GET", f"/api/2.0/mlflow/experiments/get?experiment_id={number}")[0] for number in range(1, 5)]
        body = [json.dumps({"experiment_id": str(number), "key": "seen", "value": "yes"}).encode() for number in range(1, 5)]
        writes = [user.send("POST", "/api/2.0/mlflow/experiments/set-experiment-tag", one)[0] for one in body]
        model = user.send("GET", "/api/2.0/mlflow/registered-models/get?name=churn")[0]
        tagged = user.send("POST", "/api/2.0/mlflow/registered-models/set-tag", b'{"name": "churn", "key": "team", "value": "crm"}')[0]
        found[name] = [*reads, *writes, model, tagged]
    return found
