# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loopback addresses that stand for private ones: any 127.x.y.z may be bound on Linux, by any user."""

from __future__ import annotations

import errno
import socket
import threading

# The second octet tells what lives there.
KINDS = {"task": 10, "database": 20, "load_balancer": 30, "hosted_ui": 40}


class AddressesExhausted(Exception):
    """No free address of a kind is left."""


class Addresses:
    """Hands out addresses, none twice in the life of an instance.

    The third octet follows from the API port, so that instances side by side do not meet.
    """

    def __init__(self, api_port: int) -> None:
        self._third = api_port % 255
        self._next = dict.fromkeys(KINDS, 0)
        self._lock = threading.Lock()

    def allocate(self, kind: str, port: int) -> str:
        """An address of `kind` on which `port` can be bound. OSError if the port itself is forbidden."""
        with self._lock:
            # 200 addresses in each of several neighbouring networks, far enough apart for other instances.
            while self._next[kind] < 200 * 20:
                network, host = divmod(self._next[kind], 200)
                self._next[kind] += 1
                address = f"127.{KINDS[kind]}.{(self._third + network * 13) % 255}.{host + 10}"
                if _is_free(address, port):
                    return address
        raise AddressesExhausted(f"no address is left for a {kind.replace('_', ' ')}; run down and up")


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True
