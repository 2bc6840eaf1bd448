# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check that writes to the database and reads it back."""

from __future__ import annotations

import concurrent.futures
import secrets
import time
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_checks
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import PASSED, Verdict, Wrong
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_session import Session

# Reads that are under way at the same time, so that a busy worker leaves some to others.
AT_ONCE = 4


def write_read(session: Session) -> Verdict:
    """Write once, read often. The client opens a connection for each request, so that a load balancer hands the reads
    to different tasks; each of them must see what one of them wrote."""
    trace = session.trace()
    nonce = secrets.token_hex(8)
    # Halves and quarters come back from any database exactly.
    metric = secrets.randbelow(1 << 30) / 4
    written = {"metric": metric, "parameter": nonce, "tag": f"{nonce} \u00fc"}
    session.client.call(
        "POST",
        "runs/log-batch",
        body={
            "run_id": trace.run_id,
            "metrics": [{"key": "metric", "value": metric, "timestamp": int(time.time() * 1000), "step": 1}],
            "params": [{"key": "parameter", "value": written["parameter"]}],
            "tags": [{"key": "tag", "value": written["tag"]}],
        },
        repeatable=True,
    )
    reads = session.settings.reads
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda _number: _read(session, trace.run_id), range(reads)))
    differences = [mlflow_checks.difference(written, one) for one in found]
    wrong = [one for one in differences if one]
    if wrong:
        how_often = f" in {len(wrong)} of {reads} reads" if reads > 1 else ""
        raise Wrong(f"{wrong[0]}{how_often}", mlflow_checks.SAME_DATABASE)
    if trace.run_id not in [run["info"]["run_id"] for run in session.marked_runs()]:
        raise Wrong("a search does not find the run just written", mlflow_checks.SAME_DATABASE)
    connections = "one connection" if reads == 1 else f"{reads} connections"
    return Verdict(PASSED, f"a run with a metric, a parameter and a tag came back as written over {connections}")


def _read(session: Session, run_id: str) -> dict[str, t.Any]:
    run = session.client.call("GET", "runs/get", {"run_id": run_id}).get("run", {})
    data = run.get("data", {})
    return {one["key"]: one.get("value") for kind in ("metrics", "params", "tags") for one in data.get(kind, [])}
