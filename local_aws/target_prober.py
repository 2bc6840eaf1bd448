# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One health check on the wire, as an Application Load Balancer sends it.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
"""

from __future__ import annotations

import asyncio
import re

from .target_health import FAILED, TIMED_OUT, HealthCheck, Outcome, judge_code

LARGEST_HEAD_BYTES = 64 * 1024
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r\n")


async def probe(address: str, traffic_port: int, check: HealthCheck) -> Outcome:
    """GET the path on a connection of its own; redirects are judged by their code, not followed."""
    try:
        return await asyncio.wait_for(_exchange(address, check.port or traffic_port, check), check.timeout)
    except TimeoutError:
        return TIMED_OUT
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
        return FAILED


async def _exchange(address: str, port: int, check: HealthCheck) -> Outcome:
    reader, writer = await asyncio.open_connection(address, port, limit=LARGEST_HEAD_BYTES)
    try:
        writer.write(
            f"GET {check.path} HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close\r\n"
            "User-Agent: ELB-HealthChecker/2.0\r\nAccept-Encoding: gzip, compressed\r\n\r\n".encode("ascii", "ignore")
        )
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
    status = STATUS_LINE.match(head)
    if status is None:
        return FAILED
    return judge_code(int(status.group(1)), check.matcher)
