# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a module in this process: `run_module(module, {options}, check=False)` answers what it would print as JSON."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils import _internal, basic
from ansible.module_utils.testing import patch_module_args


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str]) -> t.Callable[..., dict]:
    def run(module: t.Any, options: dict, check: bool = False) -> dict:
        arguments = dict(options, _ansible_check_mode=check, _ansible_diff=True)
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


@pytest.fixture(autouse=True)
def not_the_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of plugins import the controller into this process; a module that runs here is to tell its warnings as modules do."""
    monkeypatch.setattr(_internal, "is_controller", False)


@pytest.fixture(autouse=True)
def no_leftover_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's parsed arguments live in a global of ansible-core; one test must not see another's."""
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", None)


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that boto3 takes and that are too long to be masked out of every result."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTTESTTESTTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-access-key-for-unit-tests-only")
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
