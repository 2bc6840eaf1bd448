# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""migrate.yml into a live deployment: a file store moves in, and the deployment is verified."""

from __future__ import annotations

import json

import pytest

from tests.integration.plugins.migration.conftest import seed

pytestmark = pytest.mark.long


def test_a_file_store_moves_into_the_deployment(live, mlflow_env, tmp_path):
    mlflow = mlflow_env("2.18.0")
    seed(str(tmp_path / "mlruns"), mlflow, tmp_path)
    given = {
        "migrate_source_store_uri": str(tmp_path / "mlruns"), "migrate_source_mlflow": str(mlflow), "migrate_source_name": "a laptop",
    }  # fmt: skip
    options = ("-e", json.dumps(given))
    foretold = live.play("migrate", "--check", *options)
    assert foretold.returncode == 0, foretold.stdout[-4000:]
    assert "Would copy 6 runs" in foretold.stdout
    done = live.play("migrate", *options)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "Copied 6 runs" in done.stdout and "things are the same on both servers" in done.stdout
    folder = live.directory / live.name
    report = json.loads((folder / "migration.json").read_text())
    assert report["differences"] == [] and report["copied"]["runs"] == 6 and report["compared"] > 10
    assert "MLFLOW_TRACKING_URI=" in (folder / "client.env").read_text()
    assert live.admin()[1] not in foretold.stdout + done.stdout
    again = live.play("migrate", *options)
    assert again.returncode == 0 and "Copied 0 runs" in again.stdout
