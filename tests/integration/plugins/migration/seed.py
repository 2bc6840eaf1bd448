# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills a store or a server as its users do, with MLflow's own client: run by an interpreter that has MLflow.

Usage: seed.py <tracking URI> <folder for files> [<experiments> <runs each> <values of a metric> <MB of artifacts in all> <models>]
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.tracking import MlflowClient

IS_3 = int(mlflow.__version__.split(".", maxsplit=1)[0]) >= 3
NAN, INFINITY = float("nan"), float("inf")


def peculiar(client: MlflowClient, folder: Path) -> None:
    """One of everything that is hard to carry."""
    experiment = client.create_experiment(
        "peculiar / ünit", tags={"team": "a", "mlflow.note.content": "# notes\n" * 20}
    )
    parent = client.create_run(experiment, start_time=1700000000000, run_name="parent", tags={"mlflow.user": "ada"})
    parent_id = parent.info.run_id
    history = [Metric("loss", 1 / (step + 1), 1700000000000 + step, step) for step in range(2500)]
    # A step that is logged anew, and out of order; values that JSON has no words for.
    history += [Metric("loss", 7.0, 1700000009999, 3), Metric("ünit/loss", -0.5, 1700000000001, -1)]
    history += [
        Metric("strange", value, 1700000000000, step) for step, value in enumerate((NAN, INFINITY, -INFINITY, 0.1))
    ]
    for start in range(0, len(history), 1000):
        client.log_batch(parent_id, metrics=history[start : start + 1000])
    client.log_batch(parent_id, params=[Param(f"parameter {number}", "x" * 5000) for number in range(100)])
    client.log_batch(parent_id, params=[Param(f"more {number}", f"ünit {number}") for number in range(50)])
    client.log_batch(parent_id, tags=[RunTag(f"tag {number}", "t" * 4000) for number in range(100)])
    client.log_batch(
        parent_id,
        tags=[RunTag("mlflow.log-model.history", json.dumps([{"run_id": parent_id, "artifact_path": "model"}]))],
    )
    dataset = Dataset("churn", "8d3a", "local", "data.csv", schema='{"columns": 3}', profile='{"rows": 7}')
    client.log_inputs(parent_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    files = folder / "peculiar"
    (files / "model" / "data").mkdir(parents=True, exist_ok=True)
    (files / "model" / "MLmodel").write_text(f"run_id: {parent_id}\nflavors: {{}}\n", encoding="utf-8")
    (files / "model" / "data" / "weights ünit 1+2 & 3 %.bin").write_bytes(random.Random(7).randbytes(6 * 1024 * 1024))
    (files / "empty.txt").touch()
    if not IS_3:
        # Straight into a folder; no server would take it.
        (files / "plot #1.txt").write_text("unreadable", encoding="utf-8")
    client.log_artifacts(parent_id, str(files))
    client.set_terminated(parent_id, "FINISHED", 1700000060000)
    for number in range(3):
        tags = {"mlflow.parentRunId": parent_id, "ünit": "ä"}
        child = client.create_run(experiment, start_time=1700000001000 + number, run_name=f"child {number}", tags=tags)
        client.log_metric(child.info.run_id, "loss", number, 1700000001000, 0)
        client.set_terminated(child.info.run_id, "FAILED" if number else "KILLED", 1700000002000)
    client.create_run(experiment, start_time=1700000003000, run_name="still running")
    gone = client.create_run(experiment, start_time=1700000004000, run_name="deleted")
    client.log_metric(gone.info.run_id, "loss", 1.5, 1700000004000, 0)
    client.delete_run(gone.info.run_id)
    other = client.create_experiment("deleted")
    client.create_run(other, start_time=1700000005000, run_name="of a deleted experiment")
    client.delete_experiment(other)
    client.create_experiment("empty")
    default = client.create_run("0", start_time=1700000006000, run_name="by default")
    client.log_param(default.info.run_id, "a", "b")
    client.set_terminated(default.info.run_id)
    model(client, "champion 'quoted'", parent_id, versions=4, deleted=(2,))


def model(client: MlflowClient, name: str, run_id: str, versions: int, deleted: tuple[int, ...] = ()) -> None:
    """A registered model whose versions are a run's files."""
    source = client.get_run(run_id).info.artifact_uri + "/model"
    client.create_registered_model(name, tags={"team": "a"}, description="what it is for")
    for number in range(1, versions + 1):
        client.create_model_version(name, source, run_id, tags={"number": str(number)}, description=f"version {number}")
    for number in deleted:
        client.delete_model_version(name, str(number))
    client.transition_model_version_stage(name, str(versions), "Production")
    client.set_registered_model_alias(name, "champion", str(versions))
    client.set_registered_model_alias(name, "first", "1")


def logged_models(folder: Path) -> None:
    """What only MLflow 3 has: logged models, a version of one, a prompt and a trace."""
    mlflow.set_experiment("logged models")
    code = folder / "predict.py"
    code.write_text(
        "import mlflow\n\n\ndef predict(model_input: list[str]) -> list[str]:\n    return [one.upper() for one in model_input]\n\n\n"
        "mlflow.models.set_model(predict)\n",
        encoding="utf-8",
    )
    with mlflow.start_run(run_name="trains") as run:
        info = mlflow.pyfunc.log_model(
            name="upper",
            python_model=str(code),
            registered_model_name="upper",
            pip_requirements=[],
            params={"depth": "3"},
        )
        mlflow.log_metric("accuracy", 0.5, step=1, model_id=info.model_id)
        mlflow.log_metric("accuracy", 0.75, step=2, model_id=info.model_id)
    with mlflow.start_run(run_name="reads"):
        MlflowClient().log_inputs(
            mlflow.active_run().info.run_id, models=[mlflow.entities.LoggedModelInput(info.model_id)]
        )
    client = MlflowClient()
    client.create_model_version("upper", f"models:/{info.model_id}", run.info.run_id, model_id=info.model_id)
    mlflow.genai.register_prompt("greeting", "Hello {{name}}", commit_message="first", tags={"tone": "kind"})
    with mlflow.start_span("asks"):
        pass


def many(
    client: MlflowClient, folder: Path, experiments: int, runs: int, values: int, megabytes: int, models: int
) -> None:
    """As much as is asked for, alike in every run."""
    size = megabytes * 1024 * 1024 // max(1, experiments * runs)
    chance = random.Random(1)
    run_ids = []
    for number in range(experiments):
        experiment = client.create_experiment(f"experiment {number:03}", tags={"number": str(number)})
        for one in range(runs):
            start = 1700000000000 + one * 1000
            run = client.create_run(experiment, start_time=start, run_name=f"run {one:03}", tags={"mlflow.user": "ada"})
            run_id = run.info.run_id
            metrics = [Metric(f"metric {step % 4}", chance.random(), start + step, step // 4) for step in range(values)]
            params = [Param(f"parameter {key}", str(chance.random())) for key in range(5)]
            client.log_batch(run_id, metrics=metrics, params=params, tags=[RunTag("purpose", "test")])
            files = folder / "files" / "model"
            files.mkdir(parents=True, exist_ok=True)
            (files / "weights.bin").write_bytes(chance.randbytes(size - size // 4))
            (files.parent / "plot.bin").write_bytes(chance.randbytes(size // 4))
            client.log_artifacts(run_id, str(files.parent))
            client.set_terminated(run_id, "FINISHED", start + 500)
            run_ids.append(run_id)
    for number in range(models):
        model(client, f"model {number:03}", run_ids[number % len(run_ids)], versions=3)


def main() -> None:
    uri, folder, *sizes = sys.argv[1:]
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    if sizes:
        many(client, Path(folder), *map(int, sizes))
        return
    peculiar(client, Path(folder))
    if IS_3:
        logged_models(Path(folder))


if __name__ == "__main__":
    main()
