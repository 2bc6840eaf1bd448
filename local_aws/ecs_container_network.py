# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give one container the network of its own that Fargate gives it, from inside its Python programs.

Installed as a module of the container's virtual environment and imported by a `.pth` file, so that every Python
process of the container runs it; standard library only, no import of local_aws. On Fargate a task has its own network
interface: binding the wildcard address means that interface, and loopback reaches the task itself. Here all tasks
share one kernel, so
- a bind to the wildcard address with a fixed port binds the task's own 127.10.x.y;
- a connection to loopback on a port of the task's own containers goes to that address;
- everything else (the AWS API on loopback, databases, load balancers) is left alone.
Programs that make their system calls without Python's socket class are not covered.
"""

from __future__ import annotations

import os
import socket
from typing import Any

WILDCARDS = frozenset({"", "0.0.0.0", "::", "0:0:0:0:0:0:0:0"})
LOOPBACKS = frozenset({"127.0.0.1", "localhost", "::1"})


def _own(family: int, own_address: str) -> str:
    return f"::ffff:{own_address}" if family == socket.AF_INET6 else own_address


def bind_address(family: int, v6_only: bool, address: Any, own_address: str) -> Any:
    """The address to bind instead of `address` (as given to `socket.bind`)."""
    if family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple) or not address[1:]:
        return address
    host, port = address[0], address[1]
    if host not in WILDCARDS or not port:
        return address
    if family == socket.AF_INET6 and v6_only:
        # The task has no IPv6 address. asyncio binds both families and wants both to work.
        return ("::1", 0, *address[2:])
    return (_own(family, own_address), *address[1:])


def connect_address(family: int, address: Any, own_address: str, own_ports: frozenset[int]) -> Any:
    """The address to connect to instead of `address` (as given to `socket.connect`)."""
    if family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple) or not address[1:]:
        return address
    if address[0] not in LOOPBACKS or address[1] not in own_ports:
        return address
    return (_own(family, own_address), *address[1:])


def install(own_address: str, own_ports: frozenset[int]) -> None:
    """Patch Python's socket class in this process."""
    plain_bind, plain_connect, plain_connect_ex = socket.socket.bind, socket.socket.connect, socket.socket.connect_ex
    bound_ports: set[int] = set(own_ports)

    def bind(self: socket.socket, address: Any) -> None:
        v6_only = False
        if self.family == socket.AF_INET6:
            v6_only = bool(self.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
        changed = bind_address(self.family, v6_only, address, own_address)
        plain_bind(self, changed)
        if changed is not address and changed[1]:
            bound_ports.add(changed[1])

    def connect(self: socket.socket, address: Any) -> None:
        plain_connect(self, connect_address(self.family, address, own_address, frozenset(bound_ports)))

    def connect_ex(self: socket.socket, address: Any) -> int:
        return plain_connect_ex(self, connect_address(self.family, address, own_address, frozenset(bound_ports)))

    socket.socket.bind = bind  # type: ignore[method-assign]
    socket.socket.connect = connect  # type: ignore[method-assign]
    socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]


def install_from_environment() -> None:
    """Patch this process if it belongs to a task (LOCAL_AWS_TASK_ADDRESS, LOCAL_AWS_TASK_PORTS)."""
    own_address = os.environ.get("LOCAL_AWS_TASK_ADDRESS")
    if own_address:
        ports = os.environ.get("LOCAL_AWS_TASK_PORTS", "")
        install(own_address, frozenset(int(port) for port in ports.split(",") if port))
