# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a verification could leave behind in a deployment, to be compared before and after."""

from __future__ import annotations

import typing as t

from tests.integration.deployment import faults

if t.TYPE_CHECKING:
    from tests.integration.deployment.conftest import Deployment


def _pages(client: t.Any, path: str, key: str, body: dict) -> t.Iterator[dict]:
    token = None
    while True:
        more = {"page_token": token} if token else {}
        answer = client.call("POST", path, body={**body, "max_results": 1000, **more}, repeatable=True)
        yield from answer.get(key, [])
        token = answer.get("next_page_token")
        if not token:
            return


def dump(live: Deployment) -> dict[str, t.Any]:
    """Users with what they may do, experiments deleted or not, runs that are not deleted, models, objects, uploads.

    Of a deleted run MLflow's API leaves a row, which is no trace as long as it has no artifacts.
    """
    client = faults.admin_client(live, live.admin()[1])
    experiments = list(_pages(client, "experiments/search", "experiments", {"view_type": "ALL"}))
    ids = [one["experiment_id"] for one in experiments]
    s3, bucket = live.client("s3"), live.outputs()["bucket"]
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    objects = [one["Key"] for page in pages for one in page.get("Contents", [])]
    runs = _pages(client, "runs/search", "runs", {"experiment_ids": ids, "run_view_type": "ACTIVE_ONLY"})
    uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    models = client.call("GET", "registered-models/search", {"max_results": "1000"}).get("registered_models", [])
    return {
        "roles": client.send("GET", "/api/3.0/mlflow/roles/list", login=client.login).text,
        "users": client.call("GET", "users/list")["users"],
        "experiments": sorted((one["name"], one["lifecycle_stage"]) for one in experiments),
        "runs": sorted(one["info"]["run_id"] for one in runs),
        "models": sorted(one["name"] for one in models),
        "objects": sorted(objects),
        "uploads": sorted(one["Key"] for one in uploads),
    }
