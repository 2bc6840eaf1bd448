# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: prepared_modules
type: aggregate
short_description: Put the modules of a play together before their tasks need them
version_added: "0.1.0"
description:
  - Before a task runs, ansible-core puts its module and all that it imports together, once for each module of a run. That takes a
    quarter of a second for one of C(amazon.aws), most of it for reading the same files again.
  - This does the same in a process beside the run, in the order of the play, reading each file once. A task that finds its module
    ready takes it; any other puts its own together, as without this.
  - Modules of tasks that are included while the play runs, and those that an action plugin of the same name calls, are left to their tasks.
author:
  - The mlops.mlflow_aws contributors (@mlops)
requirements:
  - enabled by C(callbacks_enabled = mlops.mlflow_aws.prepared_modules) in C(ansible.cfg), as it is in this repository
"""

import atexit
import contextlib
import functools
import multiprocessing
import os
import sys
import typing as t

from ansible import constants
from ansible.executor import module_common
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.block import Block
from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import action_loader, module_loader
from ansible.template import Templar


def actions(blocks: t.Iterable[t.Any]) -> t.Iterator[str]:
    """What the tasks call, in their order."""
    for one in blocks:
        if isinstance(one, Block):
            yield from actions([*one.block, *one.rescue, *one.always])
        else:
            yield one.action


def prepare(name: str) -> None:
    """Put the module together that ansible-core would run for this action; it keeps it for the run."""
    if action_loader.find_plugin_with_context(name).resolved:
        return
    module = module_loader.find_plugin_with_context(name)
    if module.resolved:
        module_common.modify_module(
            module_name=name,
            module_path=module.plugin_resolved_path,
            module_args={},
            templar=Templar(DataLoader()),
            # Otherwise it would ask for the target's.
            task_vars={"ansible_python_interpreter": sys.executable},
            module_compression=constants.config.get_config_value("DEFAULT_MODULE_COMPRESSION"),
        )


def prepare_all(names: t.Iterable[str]) -> None:
    # Modules share most of what they import. ansible-core promises nothing about this function, nor about modify_module: whatever has
    # changed there, tasks put their modules together by themselves.
    with contextlib.suppress(Exception):
        module_common._compile_module_ast = functools.lru_cache(maxsize=None)(module_common._compile_module_ast)
    for name in dict.fromkeys(names):
        with contextlib.suppress(Exception):
            prepare(name)


def _beside(play: t.Any) -> None:
    # The task that needs a module tells what is wrong with it.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    prepare_all(actions(play.compile()))


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "mlops.mlflow_aws.prepared_modules"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._beside: list[t.Any] = []
        # Before ansible-core removes its temporary folder, where the modules are kept.
        atexit.register(self._end)

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        process = multiprocessing.get_context("fork").Process(target=_beside, args=(play,), daemon=True)
        process.start()
        self._beside.append(process)

    def _end(self) -> None:
        # Not before the last task: a process that is killed may hold the lock of a module.
        for process in self._beside:
            process.kill()
            process.join()
