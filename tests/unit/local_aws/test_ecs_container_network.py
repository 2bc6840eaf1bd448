# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from local_aws import ecs_container_network as network

V4, V6 = socket.AF_INET, socket.AF_INET6
OWN = "127.10.200.7"


@pytest.mark.parametrize(("family", "v6_only", "address", "expected"), [
    (V4, False, ("0.0.0.0", 5000), (OWN, 5000)),
    (V4, False, ("", 5000), (OWN, 5000)),
    (V4, False, ("0.0.0.0", 0), ("0.0.0.0", 0)),
    (V4, False, ("127.0.0.1", 5000), ("127.0.0.1", 5000)),
    (V6, False, ("::", 5000, 0, 0), (f"::ffff:{OWN}", 5000, 0, 0)),
    (V6, True, ("::", 5000, 0, 0), ("::1", 0, 0, 0)),
    (socket.AF_UNIX, False, "/tmp/s", "/tmp/s"),
])
def test_only_the_wildcard_address_is_replaced(family, v6_only, address, expected):
    assert network.bind_address(family, v6_only, address, OWN) == expected


@pytest.mark.parametrize(("family", "address", "expected"), [
    (V4, ("127.0.0.1", 5000), (OWN, 5000)),
    (V4, ("localhost", 5000), (OWN, 5000)),
    (V6, ("::1", 5000, 0, 0), (f"::ffff:{OWN}", 5000, 0, 0)),
    (V4, ("127.0.0.1", 4566), ("127.0.0.1", 4566)),
    (V4, ("127.20.0.2", 5000), ("127.20.0.2", 5000)),
    (socket.AF_UNIX, "/tmp/s", "/tmp/s"),
])
def test_only_the_own_ports_on_loopback_are_replaced(family, address, expected):
    assert network.connect_address(family, address, OWN, frozenset({5000})) == expected


SERVERS = {
    "http.server": (
        "import http.server, threading, urllib.request\n"
        "server = http.server.ThreadingHTTPServer(('0.0.0.0', PORT), http.server.SimpleHTTPRequestHandler)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        "print(server.server_address[0], urllib.request.urlopen(f'http://localhost:{PORT}/').status)\n"
    ),
    "asyncio": (
        "import asyncio\n"
        "async def main():\n"
        "    server = await asyncio.start_server(lambda r, w: w.close(), None, PORT)\n"
        "    await asyncio.open_connection('127.0.0.1', PORT)\n"
        "    print(sorted(s.getsockname()[0] for s in server.sockets)[0], 200)\n"
        "asyncio.run(main())\n"
    ),
}


@pytest.mark.parametrize("kind", SERVERS)
def test_two_tasks_listen_on_one_port_and_reach_themselves(kind):
    folder = Path(network.__file__).parent
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\nPORT = {port}\n"
        "import ecs_container_network; ecs_container_network.install_from_environment()\n" + SERVERS[kind]
        + "input()\n"
    )
    tasks = []
    try:
        for address in ("127.10.201.2", "127.10.201.3"):
            environment = {"LOCAL_AWS_TASK_ADDRESS": address, "LOCAL_AWS_TASK_PORTS": str(port)}
            task = subprocess.Popen([sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, text=True)
            tasks.append(task)
            assert task.stdout.readline().split() == [address, "200"]
    finally:
        for task in tasks:
            task.kill()
            task.communicate()
