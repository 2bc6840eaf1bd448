# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret given by the user shows nowhere: not in the output at -vvv, the logs, the task definition, a fact or a file."""

from __future__ import annotations

import json
from pathlib import Path

CANARY = "canary-7Kq2vXz9LmW4-canary"
DB_CANARY = "dbcanary-3Rt8bNc5QpY6-dbcanary"
ROOT = Path(__file__).resolve().parents[3]


def found_in(folder: Path) -> list[str]:
    hits = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and not {".git", ".venv", ".cache"} & set(path.parts):
            content = path.read_bytes()
            if (CANARY.encode() in content or DB_CANARY.encode() in content) and path != Path(__file__):
                hits.append(str(path))
    return hits


def test_canary_is_found_nowhere(empty_account, tmp_path):
    given = tmp_path / "vault.yml"
    given.write_text(json.dumps({"secrets_admin_password": CANARY, "secrets_db_password": DB_CANARY}))
    given.chmod(0o600)
    run = empty_account.play("site", "-vvv", "-e", f"@{given}")
    given.unlink()
    assert run.returncode == 0, run.stdout[-6000:]
    assert empty_account.admin()[1] == CANARY

    assert CANARY not in run.stdout and DB_CANARY not in run.stdout
    name = empty_account.name
    definition = empty_account.client("ecs").describe_task_definition(taskDefinition=name)
    assert "canary" not in json.dumps(definition, default=str)
    logs = empty_account.client("logs")
    events = [
        event["message"]
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=f"/ecs/{name}")
        for event in page["events"]
    ]
    assert events and not any("canary" in message for message in events)
    assert found_in(ROOT) == []
    assert found_in(empty_account.directory) == []
    assert "canary" not in (empty_account.aws.directory / "api.jsonl").read_text()
    for process in empty_account.aws.processes():
        assert CANARY not in " ".join(process.cmdline()) and DB_CANARY not in " ".join(process.cmdline())
