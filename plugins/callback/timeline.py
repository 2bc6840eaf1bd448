# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: timeline
type: aggregate
short_description: Draw what a run waited for
version_added: "0.1.0"
description:
  - With the extra variable C(timeline=true), draws for each host when the run did what, what AWS made meanwhile, and the critical path.
  - The picture, an SVG file, is C(timeline.svg) in the folder of the deployment; a later run replaces it.
  - Without the variable it does nothing.
author:
  - The mlops.mlflow_aws contributors (@mlops)
requirements:
  - enabled by C(callbacks_enabled = mlops.mlflow_aws.timeline) in C(ansible.cfg), as it is in this repository
"""

import os
import time
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar

from ansible_collections.mlops.mlflow_aws.plugins.plugin_utils.timeline import Step, bars, picture


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "mlops.mlflow_aws.timeline"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._play: t.Any = None
        self._loader: t.Any = None
        self._wanted = False
        self._began = time.monotonic()
        self._started: dict[tuple[str, str], float] = {}
        self._steps: dict[str, list[Step]] = {}

    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        self._loader = playbook.get_loader()

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        self._play = play
        self._wanted = boolean(play.get_variable_manager().extra_vars.get("timeline", False), strict=False)

    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        if self._wanted:
            self._started[host.get_name(), task._uuid] = time.monotonic() - self._began

    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._ended(result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        self._ended(result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._ended(result)

    def _ended(self, result: t.Any) -> None:
        host, task = result._host.get_name(), result._task
        started = self._started.pop((host, task._uuid), None)
        if started is None:
            return
        role = task._role.get_name(include_role_fqcn=False).rpartition(".")[2] if task._role else ""
        path = (task.get_path() or "").rpartition(":")[0]
        step = Step(
            role=role,
            file=os.path.splitext(os.path.basename(path))[0],
            name=task.name or task.action,
            action=task.resolved_action or task.action,
            started=started,
            ended=time.monotonic() - self._began,
            changed=result.is_changed(),
        )
        self._steps.setdefault(host, []).append(step)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        for host, steps in self._steps.items():
            path = self._path(host)
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(picture(f"{self._play.get_name()}, {host}", bars(steps)))
            except OSError as error:
                self._display.warning(f"{path} cannot be written ({error.strerror}): let this user write there; the run itself is done")
            else:
                self._display.display(f"The timeline of {host}: {path}")

    def _path(self, host: str) -> str:
        manager = self._play.get_variable_manager()
        known = manager.get_vars(play=self._play, host=manager._inventory.get_host(host))
        # Named by the playbooks of this collection; others find the picture in a folder named as the host.
        folder = Templar(loader=self._loader, variables=known).template(known.get("mlflow_deployment_directory", host))
        return os.path.join(folder, "timeline.svg")
