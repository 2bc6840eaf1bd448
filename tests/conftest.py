# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How tests are shared out where several processes run them."""

from __future__ import annotations

import typing as t

import pytest
from xdist.scheduler import LoadScopeScheduling

# Their tests use the fixture `live`, a deployment that takes minutes to make: one process runs them all.
LIVE = {
    f"tests/integration/deployment/test_{name}.py"
    for name in ("doctor", "failures", "faults", "garbage_collection", "migrate", "scaling", "tls")
}


class FilesAndTheLiveDeployment(LoadScopeScheduling):
    """A file is never split, nor is what shares the live deployment."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "live" if file in LIVE else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: t.Any) -> LoadScopeScheduling | None:
    return FilesAndTheLiveDeployment(config, log) if config.getvalue("dist") == "loadfile" else None
