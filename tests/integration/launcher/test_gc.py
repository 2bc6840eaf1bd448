# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gc`: what was deleted long ago goes for good, with its objects in S3; what is younger, or was not deleted, stays."""
from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from tests.integration.launcher.conftest import Launcher
from tests.integration.postgres import Postgres, free_port

BUCKET, PREFIX = "garbage", "mlflow artifacts"
LOGIN = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
OLD = 31 * 86_400_000

# Runs in the MLflow environment, on the databases: what users have made and deleted, as names with their artifact URIs.
SEED = """
import json, os, sys
import mlflow
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
store = SqlAlchemyStore(os.environ["URI"], "mlflow-artifacts:/")
made = {}

def run(name, experiment, deleted=False):
    info = store.create_run(experiment, "me", 1, [], name).info
    made[name] = [info.run_id, info.artifact_uri]
    if deleted:
        store.delete_run(info.run_id)

def trace(name, experiment):
    if mlflow.__version__ < "3":
        info = store.start_trace(experiment, 1, {"source": "me"}, {"team": "a"})
        made[name] = [info.request_id, info.tags["mlflow.artifactLocation"]]
        return
    from mlflow.entities import TraceInfo, TraceLocation, TraceState
    info = store.start_trace(TraceInfo("tr-1", TraceLocation.from_experiment_id(experiment), 1, TraceState.OK))
    made[name] = [info.trace_id, info.tags["mlflow.artifactLocation"]]

kept, gone, young, used = (store.create_experiment(name) for name in ("kept", "gone", "young", "used"))
run("active", kept)
run("many", kept, deleted=True)
run("young run", kept, deleted=True)
run("of gone", gone)
run("of young", young)
trace("trace of gone", gone)
if mlflow.__version__ >= "3":
    for name in ("model", "old model"):
        model = store.create_logged_model(kept, name)
        made[name] = [model.model_id, model.artifact_location]
    store.delete_logged_model(made["old model"][0])
# A registered model has its files in an experiment that is deleted.
registry = Registry(os.environ["URI"])
registry.create_registered_model("registered")
made["registered"] = ["1", f"mlflow-artifacts:/{used}/models/m-1/artifacts"]
registry.create_model_version("registered", made["registered"][1])
store.delete_experiment(used)
store.delete_experiment(gone)
store.delete_experiment(young)
json.dump(made, sys.stdout)
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    from moto.server import ThreadedMotoServer
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **LOGIN)
    yield client
    server.stop()


@pytest.fixture
def launcher(launcher_of: Callable[..., Launcher], version: str, s3: Any) -> Launcher:
    made = launcher_of(version)
    made.environment |= {
        "LAUNCHER_ARTIFACT_ROOT": f"s3://{BUCKET}/{PREFIX}", "MLFLOW_S3_ENDPOINT_URL": s3.meta.endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1", **{name.upper(): value for name, value in LOGIN.items()}}
    made.migrate()
    return made


def keys(s3: Any) -> set[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return {one["Key"] for page in pages for one in page.get("Contents", [])}


def seed(launcher: Launcher, postgres: Postgres) -> dict[str, list[str]]:
    uri = (f"postgresql+psycopg2://{postgres.username}:{postgres.password}"
           f"@{postgres.host}:{postgres.port}/{launcher.database}?sslmode=require")
    done = subprocess.run([str(launcher.python), "-c", SEED], env={**launcher.environment, "URI": uri},
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("version", [pytest.param("2.18.0", marks=pytest.mark.long), "3.17.2"])
def test_what_was_deleted_long_ago_goes_and_the_rest_stays(
        launcher: Launcher, postgres_server: Postgres, s3: Any):
    database, made = launcher.database, seed(launcher, postgres_server)
    s3.create_bucket(Bucket=BUCKET)
    # The server puts what has the URI mlflow-artifacts:/x under <artifact root>/x.
    folders = {name: f"{PREFIX}/{place.removeprefix('mlflow-artifacts:/')}" for name, (_unused, place) in made.items()}
    for name, folder in folders.items():
        s3.put_object(Bucket=BUCKET, Key=f"{folder}/model/a.bin", Body=name.encode())
    for number in range(1005):
        s3.put_object(Bucket=BUCKET, Key=f"{folders['many']}/{number}", Body=b"")
    # Nothing of another experiment's whose number begins alike.
    others = {"not/of/mlflow", f"{PREFIX}/{folders['of gone'].split('/')[1]}0/a.bin"}
    for key in others:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"")

    def kept(names: set[str]) -> set[str]:
        return {f"{folders[name]}/model/a.bin" for name in names & set(folders)} | others

    old_runs = (made["many"][0], made["of gone"][0])
    postgres_server.execute("UPDATE runs SET deleted_time = deleted_time - %s WHERE run_uuid IN %s", OLD, old_runs,
                            database=database)
    postgres_server.execute("UPDATE experiments SET last_update_time = last_update_time - %s WHERE name <> 'young'",
                            OLD, database=database)
    if "old model" in made:
        postgres_server.execute("UPDATE logged_models SET last_updated_timestamp_ms = 1", database=database)
    there = keys(s3)
    assert len(there) > 1005
    code, log = launcher.run("count")
    assert code == 0, log
    versions = "registered_models=1 model_versions=1 users=1"
    assert f"launcher: counts: experiments=5 runs=5 params=0 metrics=0 {versions}" in log
    code, log = launcher.run("gc --dry-run")
    assert code == 0 and keys(s3) == there, log
    assert f"would remove run 'many' ({made['many'][0]}), deleted on 20" in log
    assert "2 runs and 1 experiments were deleted since then and would stay" in log
    assert log.splitlines()[-1] == "launcher: would remove 2 runs and 2 experiments that were deleted more than 30 days ago"
    code, log = launcher.run("gc")
    assert code == 0, log
    assert "removed 2 runs and 2 experiments that were deleted more than 30 days ago" in log
    assert launcher.environment["LAUNCHER_DB_PASSWORD"] not in log
    assert keys(s3) == kept({"active", "young run", "of young", "model", "registered"})
    left = postgres_server.query("SELECT name FROM runs ORDER BY name", database=database)
    assert [name for (name,) in left] == ["active", "of young", "young run"]
    left = postgres_server.query("SELECT name FROM experiments ORDER BY name", database=database)
    assert [name for (name,) in left] == ["Default", "kept", "young"]
    code, log = launcher.run("count")
    assert code == 0 and "counts: experiments=3 runs=3 " in log
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys(s3)]})
    s3.delete_bucket(Bucket=BUCKET)


@pytest.mark.long
@pytest.mark.parametrize("version", ["3.17.2"])
def test_one_at_a_time_none_on_another_schema_and_no_run_without_its_artifacts(
        launcher: Launcher, postgres_server: Postgres, launcher_of: Callable[..., Launcher]):
    code, log = launcher_of("3.17.2").run("gc")
    assert code == 65 and "is empty for MLflow" in log and log.count("\n") == 1
    other = postgres_server.connect(launcher.database)
    try:
        other.cursor().execute("SELECT pg_advisory_lock(%s)", (0x6D6C66676331,))
        code, log = launcher.run("gc", LAUNCHER_LOCK_WAIT_SECONDS="1")
        assert code == 75 and "another collection of" in log
    finally:
        other.close()
    seed(launcher, postgres_server)
    postgres_server.execute("UPDATE runs SET deleted_time = 1 WHERE name = 'young run'", database=launcher.database)
    code, log = launcher.run("gc", LAUNCHER_ARTIFACT_ROOT="s3://not-there/x")
    assert code == 70 and "NoSuchBucket" in log.splitlines()[-1], log
    kept = postgres_server.query("SELECT 1 FROM runs WHERE name = 'young run'", database=launcher.database)
    assert kept == [(1,)]
