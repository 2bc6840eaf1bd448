# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delivers the access logs of load balancers to buckets whose policies let it, once in each interval."""

from __future__ import annotations

import datetime
import gzip
import logging
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.s3.models import s3_backends

from . import access_logs, bucket_policies
from .bucket_policies import Caller

# A log that has been delivered is emptied from this size on (bytes).
LONG_ENOUGH = 16 * 1024 * 1024
log = logging.getLogger(__name__)


class Refused(Exception):
    """The bucket does not take logs; the message is one line, in AWS's words where they are known."""


@dataclass(frozen=True)
class Destination:
    """The bucket and prefix that a load balancer (`app/name/id`) of an account and region logs to."""

    bucket: str
    prefix: str
    account: str
    region: str
    balancer: str

    def write_test_file(self) -> None:
        """What AWS writes when access logs are switched on; Refused if they cannot be."""
        if not self.bucket:
            raise Refused("access_logs.s3.bucket must be given where access_logs.s3.enabled is true")
        if "AWSLogs" in self.prefix:
            raise Refused(f"access_logs.s3.prefix '{self.prefix}' must not include 'AWSLogs'")
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        name = self.balancer.split("/")[1]
        key = f"{access_logs.folder(self.prefix, self.account)}/ELBAccessLogTestFile"
        self.write(key, f"Enable AccessLog for ELB: {name} at {now}".encode())

    def write(self, key: str, body: bytes) -> None:
        """Write an object as the log delivery service does; Refused if the bucket does not take it."""
        backend, found = _bucket(self.bucket)
        if found is None:
            raise Refused(f"S3Bucket: {self.bucket} does not exist")
        if found.region_name != self.region:
            raise Refused(f"S3Bucket: {self.bucket} is not located in the same region with your load balancer")
        caller = Caller("", None, access_logs.SERVICE)
        resource = f"arn:{found.partition}:s3:::{self.bucket}/{key}"
        allowed = found.policy and bucket_policies.verdict(found.policy, caller, "s3:PutObject", resource)
        # "The only server-side encryption option that's supported is Amazon S3-managed keys".
        if allowed != bucket_policies.ALLOW or "aws:kms" in str(found.encryption):
            raise Refused(f"Access Denied for bucket: {self.bucket}. Please check S3bucket permission")
        backend.put_object(self.bucket, key, body)


def _bucket(name: str) -> tuple[Any, Any]:
    """(backend, bucket), None for both where there is none."""
    partition, owner = s3_backends.bucket_accounts.get(name, ("", ""))
    backend = s3_backends[owner][partition] if owner else None
    return backend, backend.buckets.get(name) if backend else None


@dataclass
class _Log:
    """What one proxy writes down; `delivered` is in bytes."""

    path: Path
    address: str
    destination: Destination
    delivered: int


class AccessLogs:
    """Each run delivers what was written down since the one before."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._lock = threading.Lock()
        self._logs: dict[Path, _Log] = {}

    def follow(self, wanted: dict[Path, tuple[str, Destination]]) -> None:
        """Deliver what is written to these files from now on, of the proxy at an address; others one last time."""
        with self._lock:
            for path, one in list(self._logs.items()):
                if wanted.get(path) != (one.address, one.destination):
                    self._deliver(self._logs.pop(path))
            for path, (address, destination) in wanted.items():
                if path not in self._logs:
                    self._logs[path] = _Log(path, address, destination, _size(path))

    def run_once(self) -> None:
        with self._lock:
            for one in self._logs.values():
                self._deliver(one)

    @staticmethod
    def _deliver(one: _Log) -> None:
        to = one.destination
        entries = [made for line in _new_lines(one) if (made := access_logs.entry(line, to.balancer))]
        if not entries:
            return
        key = access_logs.object_key(
            to.prefix, to.account, to.region, to.balancer, one.address, time.time(), secrets.token_hex(4)
        )
        try:
            to.write(key, gzip.compress("".join(f"{entry}\n" for entry in entries).encode()))
        except Refused as error:
            # AWS drops them as well, and tells nobody.
            log.warning("%d access log entries of %s are lost: %s", len(entries), to.balancer, error)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _new_lines(one: _Log) -> list[str]:
    """The whole lines since the last time."""
    if not one.path.exists():
        return []
    with open(one.path, "rb+") as file:
        file.seek(one.delivered)
        text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        one.delivered += len(whole)
        if one.delivered > LONG_ENOUGH and len(whole) == len(text):
            file.truncate(0)
            one.delivered = 0
    # A client's own separators of lines, such as U+2028, are none here.
    return whole.decode("utf-8", "replace").split("\n")[:-1]
