# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role migrate between real servers: from stores and from a server, killed on the way, compared."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_copy_reads, mlflow_errors

from tests.integration.plugins.migration import playbook
from tests.integration.plugins.migration.conftest import seed, serve
from tests.integration.plugins.migration.test_copy import EXPERIMENT
from tests.integration.plugins.conftest import stop

NEWEST = pytest.mark.parametrize("server", ["3.17.2"], indirect=True)
# Experiments, runs of each, values of metrics of each run, MB of artifacts in all, models.
FULL = (50, 40, 100, 1024, 20)


def variables(server, **more):
    return {
        "migrate_tracking_uri": server.url, "migrate_username": server.connection["username"],
        "migrate_password": server.connection["password"], **more,
    }  # fmt: skip


@NEWEST
@pytest.mark.parametrize("source", ["2.18.0"], indirect=True)
def test_a_file_store_moves_in(server, source, tmp_path):
    """Foretold, copied, compared; the store is not written to, and its server is gone afterwards."""
    report = tmp_path / "report.json"
    given = variables(
        server, migrate_source_store_uri=source.store, migrate_source_mlflow=str(source.mlflow), migrate_with_deleted=True,
        migrate_source_name="a laptop", migrate_report_path=str(report), migrate_destination_names={"empty": "hollow"},
        migrate_on_clash="rename",
    )  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in source.folder.joinpath("mlruns").rglob("*") if path.is_file()}
    foretold = playbook.run(tmp_path, given, "--check")
    assert foretold.returncode == 0, foretold.stdout[-4000:]
    assert not report.exists()
    done = playbook.run(tmp_path, given)
    assert done.returncode == 0, done.stdout[-4000:]
    found = json.loads(report.read_text())
    assert found["differences"] == [] and found["compared"] > 10
    assert len(found["losses"]) == 1 and "'plot #1.txt' has a name" in found["losses"][0]
    assert found["totals"]["source"] == found["totals"]["destination"]
    assert found["copied"]["runs"] == found["held"]["runs"] == 8
    assert {"hollow", "deleted"} <= {one["name"] for one in found["experiments"]}
    again = playbook.run(tmp_path, given)
    assert again.returncode == 0, again.stdout[-4000:]
    assert json.loads(report.read_text())["copied"]["runs"] == 0
    assert "changed=0" in again.stdout, again.stdout[-4000:]
    after = {path: path.stat().st_mtime_ns for path in source.folder.joinpath("mlruns").rglob("*") if path.is_file()}
    assert after == before
    assert server.connection["password"] not in foretold.stdout + done.stdout


@NEWEST
@pytest.mark.parametrize("source", ["3.17.2"], indirect=True)
def test_what_cannot_work_is_refused_before_anything_is_written(server, source, tmp_path, client):
    def refused(**more):
        run = playbook.run(tmp_path, variables(server, **more))
        assert run.returncode != 0
        return run.stdout

    assert "one of them says where to copy from" in refused()
    nowhere = {"migrate_source_tracking_uri": "http://127.0.0.1:9", "migrate_retry_timeout": 0}
    assert "the connection is refused" in refused(**nowhere)
    assert "there is no command" in refused(migrate_source_store_uri=str(tmp_path), migrate_source_mlflow="/nothing")
    with contextlib.suppress(mlflow_errors.MlflowError):  # a copy that another test has made
        client.call("DELETE", "registered-models/delete", body={"name": "upper"})
    client.call("POST", "registered-models/create", body={"name": "upper"})
    names = [one["name"] for one in client.call("GET", "experiments/search", {"max_results": "100"})["experiments"]]
    # Experiments have names of their own here, for others may have been left by other tests.
    elsewhere = {name: f"{name} of a refused migration" for name in (EXPERIMENT, "empty")}
    told = " ".join(refused(migrate_source_tracking_uri=source.url, migrate_destination_names=elsewhere).split())
    assert "has a registered model of that name that is no copy" in told, told
    left = [one["name"] for one in client.call("GET", "experiments/search", {"max_results": "100"})["experiments"]]
    assert left == names
    client.call("DELETE", "registered-models/delete", body={"name": "upper"})


@pytest.mark.long
@NEWEST
@pytest.mark.parametrize("sizes", [FULL], ids=["full"])
def test_a_migration_is_killed_and_resumed(server, mlflow_env, tmp_path, client, sizes):
    """Fifty experiments, two thousand runs, two hundred thousand values, a gigabyte and twenty models; killed three times."""
    folder, mlflow = tmp_path / "source", mlflow_env("2.18.0")
    folder.mkdir()
    seed(str(folder / "mlruns"), mlflow, folder, sizes)
    found, process = serve("2.18.0", mlflow, folder, files=True, workers=2)
    report = tmp_path / "report.json"
    given = variables(
        server, migrate_source_tracking_uri=found.url, migrate_report_path=str(report), migrate_compare="none"
    )
    try:
        runs, began = sizes[0] * sizes[1], time.monotonic()
        for share in (0.15, 0.4, 0.7):
            running = playbook.begin(tmp_path, given)
            while copied(client) < runs * share:
                assert running.poll() is None, (tmp_path / "output").read_text()[-4000:]
                time.sleep(0.5)
            playbook.kill(running)
        done = playbook.run(tmp_path, given | {"migrate_compare": "hashes"}, seconds=3600)
        assert done.returncode == 0, done.stdout[-4000:]
        told = json.loads(report.read_text())
        print(
            f"killed three times, in all {time.monotonic() - began:.0f} s with looking and comparing; {told['totals']}"
        )
        print(f"the last part: {told['copied']['runs']} runs in {told['seconds']} s, {told['runs_per_second']} runs/s")
        assert told["differences"] == [] and told["totals"]["source"] == told["totals"]["destination"]
        total = told["totals"]["destination"]
        assert (total["runs"], total["metrics"], total["registered_models"]) == (runs, runs * sizes[2], sizes[4])
    finally:
        stop(process)


def copied(client) -> int:
    """How many runs are complete at the destination."""
    body = {"max_results": "1000", "view_type": "ACTIVE_ONLY"}
    experiments = client.call("GET", "experiments/search", body).get("experiments", [])
    ids = [one["experiment_id"] for one in experiments if one["name"].startswith("experiment ")]
    return len(mlflow_copy_reads.runs(client, ids, where="tags.`migration.complete` LIKE '%'")) if ids else 0
