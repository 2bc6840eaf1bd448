# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of one instance share, and the threads that make declared things real."""

from __future__ import annotations

import dataclasses
import functools
import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

from .addresses import Addresses
from .certificates import Authority
from .credentials import Credentials
from .hosted_ui_service import HostedUis
from .latency import Latency
from .metrics import Metrics
from .processes import Processes
from .settings import Settings

INTERVAL_SECONDS = 0.2
log = logging.getLogger(__name__)


class Reconciler(Protocol):
    """Something that is brought one step nearer to what was declared, again and again."""

    def run_once(self) -> None: ...


def _no_tasks(_backend: Any, _parameters: dict[str, Any]) -> list[Any]:
    raise RuntimeError("ECS is not in place yet")


def _no_functions(_function: Any, _event: Any) -> Any:
    raise RuntimeError("Lambda is not in place yet")


@dataclasses.dataclass
class Runtime:
    settings: Settings
    addresses: Addresses
    processes: Processes
    latency: Latency
    credentials: Credentials
    metrics: Metrics
    stopping: threading.Event = dataclasses.field(default_factory=threading.Event)
    reconcilers: list[Reconciler] = dataclasses.field(default_factory=list)
    # Called in order when the instance goes down, before the processes that are left are ended.
    closers: list[Callable[[], None]] = dataclasses.field(default_factory=list)
    # Path below /local-aws/ to what anybody may read there.
    pages: dict[str, bytes] = dataclasses.field(default_factory=dict)
    # Kind of thing to a function that lists them.
    reporters: dict[str, Callable[[], list[dict]]] = dataclasses.field(default_factory=dict)
    # Beginning of an alarm action's ARN to what carries it out, given the alarm and the ARN: at the transition and
    # once in each period of the alarm for as long as it stays in that state.
    alarm_actions: dict[str, Callable[[Any, str], None]] = dataclasses.field(default_factory=dict)

    # Starts tasks: moto's ECS of a region, RunTask's parameters. ECS puts it here, for services that run tasks.
    run_task: Callable[[Any, dict[str, Any]], list[Any]] = _no_tasks
    # Calls a function: moto's, the event. Lambda puts it here.
    invoke_function: Callable[[Any, Any], Any] = _no_functions

    @classmethod
    def create(cls, settings: Settings) -> Runtime:
        return cls(
            settings=settings,
            addresses=Addresses(settings.api_port),
            processes=Processes(settings.folder),
            latency=Latency(settings),
            credentials=Credentials(),
            metrics=Metrics(settings.account_id),
        )

    @functools.cached_property
    def authority(self) -> Authority:
        return Authority(self.settings.folder)

    @functools.cached_property
    def hosted_uis(self) -> HostedUis:
        return HostedUis(self.addresses, self.authority)

    def report(self) -> dict[str, list[dict]]:
        """What is there, kind by kind, for people."""
        return {kind: tell() for kind, tell in self.reporters.items()}

    def start(self) -> None:
        for reconciler in self.reconcilers:
            threading.Thread(target=self._loop, args=[reconciler], daemon=True, name=type(reconciler).__name__).start()

    def _loop(self, reconciler: Reconciler) -> None:
        while not self.stopping.wait(getattr(reconciler, "interval", INTERVAL_SECONDS)):
            try:
                reconciler.run_once()
            except Exception:  # one bad pass must not end the instance; the log tells
                log.exception("%s failed", type(reconciler).__name__)

    def close(self) -> None:
        """Stop every reconciler and end every process."""
        self.stopping.set()
        for close in self.closers:
            try:
                close()
            except Exception:
                log.exception("closing failed")
        self.processes.terminate_all(grace=10)
