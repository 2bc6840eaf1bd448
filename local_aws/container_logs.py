# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The awslogs log driver: a container's output, line by line, into CloudWatch Logs.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
"""

from __future__ import annotations

import os
import select
import threading
import time
from typing import Any

from .ecs_permissions import Role

# The limit of one event of PutLogEvents (256 KB) less its 26 bytes of overhead.
MAX_EVENT_BYTES = 262_144 - 26
FLUSH_SECONDS = 0.25
READ_BYTES = 65_536


class LogDriverError(Exception):
    """The log driver cannot start; the text is the task's stopped reason."""


class LineSplitter:
    """Turns chunks of output into lines: without line ends, never empty, never above the event limit."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that `chunk` completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        while len(self._rest) > MAX_EVENT_BYTES:
            lines.append(self._rest[:MAX_EVENT_BYTES])
            self._rest = self._rest[MAX_EVENT_BYTES:]
        return [text for line in lines for text in self._texts(line)]

    def finish(self) -> list[str]:
        """What is left without a line end."""
        rest, self._rest = self._rest, b""
        return self._texts(rest)

    @staticmethod
    def _texts(line: bytes) -> list[str]:
        line = line.rstrip(b"\r")
        # PutLogEvents refuses an empty message.
        pieces = [line[start : start + MAX_EVENT_BYTES] for start in range(0, len(line), MAX_EVENT_BYTES)]
        return [piece.decode("utf-8", errors="replace") for piece in pieces]


class NoLogs:
    """A container without logConfiguration: its output is read and dropped, as Fargate does."""

    def open(self) -> None:
        pass

    def put(self, lines: list[str], at: float) -> None:
        pass


class AwsLogs:
    """One log stream `prefix/container/task-id` in moto's CloudWatch Logs, written in this process."""

    def __init__(
        self, account_id: str, options: dict[str, str], container: str, task_id: str, role: Role | None
    ) -> None:
        self._account_id = account_id
        self._region = options["awslogs-region"]
        self._group = options["awslogs-group"]
        self._create_group = options.get("awslogs-create-group") == "true"
        self._stream = f"{options['awslogs-stream-prefix']}/{container}/{task_id}"
        self._task_id = task_id
        self._role = role

    @property
    def _backend(self) -> Any:
        from moto.logs.models import logs_backends

        return logs_backends[self._account_id][self._region]

    def open(self) -> None:
        """Create the stream with the execution role's permissions. LogDriverError if AWS would refuse."""
        arn = f"arn:aws:logs:{self._region}:{self._account_id}:log-group:{self._group}"
        if self._group not in self._backend.groups:
            if not self._create_group:
                raise self._error("stream", "ResourceNotFoundException: The specified log group does not exist.")
            self._require("logs:CreateLogGroup", f"{arn}:log-stream:", "group")
            self._backend.create_log_group(self._group, {})
        self._require("logs:CreateLogStream", f"{arn}:log-stream:{self._stream}", "stream")
        self._require("logs:PutLogEvents", f"{arn}:log-stream:{self._stream}", "stream")
        self._backend.ensure_log_stream(self._group, self._stream)

    def _require(self, action: str, resource: str, what: str) -> None:
        if self._role is None or not self._role.may(action, resource):
            who = self._role.session_arn(self._task_id) if self._role else "(no execution role)"
            raise self._error(
                what,
                f"AccessDeniedException: User: {who} is not authorized to perform: {action} on resource: {resource} "
                f"because no identity-based policy allows the {action} action",
            )

    @staticmethod
    def _error(what: str, detail: str) -> LogDriverError:
        return LogDriverError(
            "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: "
            f"failed to create Cloudwatch log {what}: {detail} : exit status 1"
        )

    def put(self, lines: list[str], at: float) -> None:
        """Write lines that came at `at` (seconds since 1970). Lost if the group was deleted meanwhile, as on AWS."""
        events = [{"timestamp": int(at * 1000), "message": line} for line in lines]
        try:
            self._backend.put_log_events(self._group, self._stream, events)
        except Exception:  # the group or stream is gone: the driver drops lines and the container runs on
            return


class LogPump(threading.Thread):
    """Reads one container's output until its last writer has closed it, and writes it in batches."""

    def __init__(self, read_fd: int, target: NoLogs | AwsLogs, name: str) -> None:
        super().__init__(name=f"logs-{name}", daemon=True)
        self._fd = read_fd
        self._target = target
        self._closing = threading.Event()

    def run(self) -> None:
        splitter, since = LineSplitter(), time.time()
        lines: list[str] = []
        poll = select.poll()
        poll.register(self._fd, select.POLLIN | select.POLLHUP)
        try:
            while True:
                ready = poll.poll(1000 * (FLUSH_SECONDS if lines or self._closing.is_set() else 1))
                chunk = os.read(self._fd, READ_BYTES) if ready else None
                if chunk:
                    since = since if lines else time.time()
                    lines += splitter.feed(chunk)
                if chunk == b"" or (chunk is None and self._closing.is_set()):
                    break
                if lines and (chunk is None or time.time() - since >= FLUSH_SECONDS):
                    self._target.put(lines, time.time())
                    lines = []
        finally:
            os.close(self._fd)
            lines += splitter.finish()
            if lines:
                self._target.put(lines, time.time())

    def finish(self, timeout: float = 5) -> None:
        """Wait until all output is written; a writer that outlives the container is not waited for."""
        self._closing.set()
        self.join(timeout)
