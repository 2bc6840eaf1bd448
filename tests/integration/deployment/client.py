# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a data scientist does with the unmodified MLflow client; run by the Python of an MLflow environment.

Usage: client.py <size of the artifact in MB>, with MLFLOW_TRACKING_URI, _USERNAME and _PASSWORD in the environment.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import uuid
from pathlib import Path

import mlflow
from mlflow import MlflowClient

MEGABYTE = 1024 * 1024


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    mlflow.set_experiment(f"client-{uuid.uuid4().hex}")
    client = MlflowClient()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model.bin")
        model.write_bytes(os.urandom(int(sys.argv[1]) * MEGABYTE))
        with mlflow.start_run() as run:
            mlflow.log_param("depth", 7)
            mlflow.log_metric("auc", 0.91, step=1)
            mlflow.log_metric("auc", 0.93, step=2)
            mlflow.set_tag("team", "fraud")
            mlflow.log_artifact(str(model), "model")
        name = f"model-{uuid.uuid4().hex}"
        client.create_registered_model(name)
        version = client.create_model_version(name, f"runs:/{run.info.run_id}/model", run.info.run_id)

        back = client.get_run(run.info.run_id)
        assert back.data.params == {"depth": "7"}, back.data.params
        assert back.data.metrics == {"auc": 0.93}, back.data.metrics
        assert [one.value for one in client.get_metric_history(run.info.run_id, "auc")] == [0.91, 0.93]
        assert back.data.tags["team"] == "fraud"
        found = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="model/model.bin"))
        assert sha256(found) == sha256(model), "the artifact came back different"
        assert client.get_model_version(name, version.version).status == "READY"
    print("read back: 1 parameter, 2 metric values, 1 tag, 1 artifact, 1 model version")


if __name__ == "__main__":
    main()
