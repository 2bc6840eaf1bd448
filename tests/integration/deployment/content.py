# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Much of what users put into a deployment, and all of it read back, to be compared before and after."""

from __future__ import annotations

import hashlib
import json
import typing as t
from concurrent.futures import ThreadPoolExecutor

from tests.integration.deployment import faults

if t.TYPE_CHECKING:
    from tests.integration.deployment.conftest import Deployment

EXPERIMENTS, ARTIFACTS, MODELS, USERS = 8, 40, 6, 5


def fill(live: Deployment, runs: int) -> None:
    """Experiments with runs, metrics with history, parameters and tags; artifacts; models with versions; users with grants."""
    username, password = live.admin()
    client = faults.admin_client(live, password, username)
    ids = [
        client.call("POST", "experiments/create", body={"name": f"experiment {number} ä"})["experiment_id"] for number in range(EXPERIMENTS)
    ]

    def run(number: int) -> dict:
        mine = faults.admin_client(live, password, username)
        tags = [{"key": "team", "value": f"team {number % 7}"}]
        body = {"experiment_id": ids[number % len(ids)], "run_name": f"run {number}", "start_time": 1000 + number, "tags": tags}
        made = mine.call("POST", "runs/create", body=body)["run"]["info"]
        metrics = [{"key": "auc", "value": number / (step + 1), "timestamp": 1000 + step, "step": step} for step in range(5)]
        params = [{"key": "depth", "value": str(number)}]
        mine.call("POST", "runs/log-batch", body={"run_id": made["run_id"], "metrics": metrics, "params": params})
        if number < ARTIFACTS:
            place = made["artifact_uri"].removeprefix("mlflow-artifacts:/")
            data = f"artifact {number} ".encode() * 1000
            answer = mine.send("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{place}/model/a.bin", data=data, login=mine.login)
            assert answer.status == 200, answer
        return made

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(run, range(runs)))
    for number in range(MODELS):
        client.call("POST", "registered-models/create", body={"name": f"model {number}"})
        for _version in range(2):
            source = {"source": f"{made[number]['artifact_uri']}/model", "run_id": made[number]["run_id"]}
            client.call("POST", "model-versions/create", body={"name": f"model {number}", **source})
    for number in range(USERS):
        name = f"user {number}"
        client.call("POST", "users/create", body={"username": name, "password": f"a-long-password-of-{number}"})
        for permission, experiment in zip(("READ", "EDIT"), ids[number : number + 2]):
            grant = {"username": name, "resource_type": "experiment", "resource_id": experiment, "permission": permission}
            answer = client.send("POST", "/api/3.0/mlflow/users/permissions/grant", body=grant, login=client.login)
            assert answer.status == 200, answer


def _pages(client: t.Any, path: str, key: str, body: dict) -> t.Iterator[dict]:
    token = None
    while True:
        more = {"page_token": token} if token else {}
        answer = client.call("POST", path, body={**body, "max_results": 1000, **more}, repeatable=True)
        yield from answer.get(key, [])
        token = answer.get("next_page_token")
        if not token:
            return


def dump(live: Deployment) -> dict[str, str]:
    """By kind of content, how much there is and a hash of all of it as the API and the bucket tell it.

    The Default experiment is left out: each verification works in it.
    """
    client = faults.admin_client(live, live.admin()[1])
    experiments = sorted(
        (one for one in _pages(client, "experiments/search", "experiments", {"view_type": "ALL"}) if one["experiment_id"] != "0"),
        key=lambda one: one["experiment_id"],
    )
    ids = [one["experiment_id"] for one in experiments]
    runs = sorted(
        _pages(client, "runs/search", "runs", {"experiment_ids": ids, "run_view_type": "ALL"}), key=lambda one: one["info"]["run_id"]
    )
    histories = [
        client.call("GET", "metrics/get-history", {"run_id": one["info"]["run_id"], "metric_key": "auc"})["metrics"] for one in runs[::25]
    ]
    models = client.call("GET", "registered-models/search", {"max_results": "1000"}).get("registered_models", [])
    versions = client.call("GET", "model-versions/search", {"max_results": "1000"}).get("model_versions", [])
    users = client.call("GET", "users/list")["users"]
    s3, bucket = live.client("s3"), live.outputs()["bucket"]
    keys = [one["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket) for one in page.get("Contents", [])]
    objects = {key: hashlib.sha256(s3.get_object(Bucket=bucket, Key=key)["Body"].read()).hexdigest() for key in keys}
    found: dict[str, t.Any] = {
        "experiments": experiments,
        "runs": runs,
        "histories": histories,
        "models": sorted(models, key=lambda one: one["name"]),
        "versions": sorted(versions, key=lambda one: (one["name"], one["version"])),
        "users": sorted(users, key=lambda one: one["username"]),
        "objects": objects,
    }
    return {kind: f"{len(what)} {hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()}" for kind, what in found.items()}


def readable(live: Deployment, count: int = 5) -> int:
    """The bytes of some artifacts, read through the server as a client does."""
    client, read = faults.admin_client(live, live.admin()[1]), 0
    runs = _pages(client, "runs/search", "runs", {"experiment_ids": ["1"], "run_view_type": "ACTIVE_ONLY"})
    for one in sorted(runs, key=lambda run: run["info"]["start_time"])[:count]:
        place = one["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
        answer = client.send("GET", f"/api/2.0/mlflow-artifacts/artifacts/{place}/model/a.bin", login=client.login)
        assert answer.status == 200, answer
        read += len(answer.text)
    return read
