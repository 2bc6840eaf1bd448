# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Lambda function made of a few source files: its archive, what differs from it, and the calls that mend that.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-function-zip.html
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import time
import typing as t
import zipfile

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
FILE = re.compile(r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*\.[a-z]+")
ROLE = re.compile(r"arn:[a-z-]+:iam::\d{12}:role/\S+")
STATEMENT = "invoke"
POLL_SECONDS = 1.0
# A new role takes some seconds to be known everywhere; a function some to be ready.
SETTLE_SECONDS = 90.0


def archive(files: t.Mapping[str, str]) -> bytes:
    """A zip file that is the same wherever and whenever it is made of the same files, so that its hash tells a difference."""
    buffer = io.BytesIO()
    # Not compressed: each version of zlib does that in its own way.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            packed.writestr(entry, files[name].encode())
    return buffer.getvalue()


def digest(archived: bytes) -> str:
    """As Lambda tells it in C(CodeSha256)."""
    return base64.b64encode(hashlib.sha256(archived).digest()).decode()


def check(options: t.Mapping[str, t.Any]) -> None:
    """ValueError for what Lambda would refuse half way."""
    bad = next((name for name in options["files"] if not FILE.fullmatch(name)), None)
    for wrong, reason in (
        (not NAME.fullmatch(options["name"]), f"name = {options['name']}: give 1 to 64 letters, digits, - and _"),
        (not options["files"], "files: there is none; give the source of the function"),
        (bad is not None, f"files: {bad!r} is not the name of a file; write one such as index.py"),
        (not ROLE.fullmatch(options["role_arn"]), f"role_arn = {options['role_arn']}: is not the ARN of an IAM role; give one"),
        (not 1 <= options["timeout"] <= 900, f"timeout = {options['timeout']}: is not from 1 to 900 seconds; give such a number"),
        (
            not 128 <= options["memory_size"] <= 10240,
            f"memory_size = {options['memory_size']}: is not from 128 to 10240 MiB; give such a number",
        ),
    ):
        if wrong:
            raise ValueError(f"Lambda function {options['name']}: {reason}")


def settings(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The parameters that CreateFunction and UpdateFunctionConfiguration share."""
    return {
        "Description": options["description"],
        "Handler": options["handler"],
        "Runtime": options["runtime"],
        "Role": options["role_arn"],
        "Timeout": options["timeout"],
        "MemorySize": options["memory_size"],
        "Environment": {"Variables": aws_changes.text_tags(options["environment"])},
    }


def comparable(configuration: t.Mapping[str, t.Any], wanted: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What is compared of a function's configuration. Without any variables Lambda tells of no environment."""
    found = {key: configuration.get(key) for key in wanted}
    found["Environment"] = {"Variables": (found.get("Environment") or {}).get("Variables") or {}}
    return found


def statement(function_arn: str, invoker: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The statement of the function's policy that lets a service of AWS call it, for what is named and nothing else."""
    return {
        "Sid": STATEMENT,
        "Effect": "Allow",
        "Principal": {"Service": invoker["service"]},
        "Action": "lambda:InvokeFunction",
        "Resource": function_arn,
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": invoker["source_account"]},
            "ArnLike": {"AWS:SourceArn": invoker["source_arn"]},
        },
    }


def permission(invoker: t.Mapping[str, t.Any]) -> dict[str, str]:
    """AddPermission's parameters for that statement."""
    return {
        "StatementId": STATEMENT,
        "Action": "lambda:InvokeFunction",
        "Principal": invoker["service"],
        "SourceAccount": invoker["source_account"],
        "SourceArn": invoker["source_arn"],
    }


class Function:
    """The function `name`, with its tags and the statements of its policy."""

    def __init__(self, client: t.Any, name: str) -> None:
        self.client, self.name = client, name
        self.found: dict[str, t.Any] | None = None
        self.tags: dict[str, str] = {}
        self.statements: list[dict[str, t.Any]] = []

    @property
    def arn(self) -> str | None:
        return self.found["FunctionArn"] if self.found else None

    def find(self) -> None:
        answer = self._ask(self.client.get_function)
        self.found = answer["Configuration"] if answer else None
        self.tags = (answer or {}).get("Tags") or {}
        policy = self._ask(self.client.get_policy) if answer else None
        self.statements = json.loads(policy["Policy"])["Statement"] if policy else []

    def _ask(self, operation: t.Callable) -> t.Any:
        try:
            return operation(FunctionName=self.name, aws_retry=True)
        except is_boto3_error_code("ResourceNotFoundException"):
            return None

    def check_owner(self, owner_tags: dict[str, str]) -> None:
        """ValueError if it is somebody else's."""
        if self.found and not aws_changes.carries(self.tags, owner_tags):
            remedy = "choose another name, or remove it by hand"
            raise ValueError(aws_changes.not_ours(f"Lambda function {self.name}", owner_tags, remedy))

    def plan_present(
        self, options: t.Mapping[str, t.Any], function_arn: str, tags: dict[str, str]
    ) -> aws_changes.Changes:
        changes, wanted, packed = aws_changes.Changes(), settings(options), archive(options["files"])
        if self.found is None:
            changes.want("function", "absent", "present", lambda: self._create(wanted, packed, tags))
        else:
            changes.want("code", self.found["CodeSha256"], digest(packed), lambda: self._update_code(packed))
            changes.want("settings", comparable(self.found, wanted), wanted, lambda: self._update(wanted))
            changes.want_tags(
                "tags", self.tags, tags,
                lambda new: self.client.tag_resource(Resource=function_arn, Tags=new, aws_retry=True),
                lambda keys: self.client.untag_resource(Resource=function_arn, TagKeys=keys, aws_retry=True),
            )  # fmt: skip
        wanted_statements = [statement(function_arn, options["invoker"])] if options["invoker"] else []
        changes.want("policy", self.statements, wanted_statements, lambda: self._permit(options["invoker"]))
        return changes

    def plan_absent(self) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        before = "present" if self.found else "absent"
        changes.want(
            "function", before, "absent", lambda: self.client.delete_function(FunctionName=self.name, aws_retry=True)
        )
        return changes

    def _create(self, wanted: dict[str, t.Any], packed: bytes, tags: dict[str, str]) -> None:
        def create() -> t.Any:
            return self.client.create_function(
                FunctionName=self.name, Code={"ZipFile": packed}, Tags=tags, **wanted, aws_retry=True
            )

        self._when_the_role_is_known(create)
        self._await_ready()

    def _update_code(self, packed: bytes) -> None:
        self.client.update_function_code(FunctionName=self.name, ZipFile=packed, aws_retry=True)
        self._await_ready()

    def _update(self, wanted: dict[str, t.Any]) -> None:
        self._when_the_role_is_known(
            lambda: self.client.update_function_configuration(FunctionName=self.name, **wanted, aws_retry=True)
        )
        self._await_ready()

    @staticmethod
    def _when_the_role_is_known(operation: t.Callable[[], t.Any]) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                operation()
                return
            except is_boto3_error_code("InvalidParameterValueException") as error:
                # "The role defined for the function cannot be assumed by Lambda."
                if "role" not in str(error) or time.monotonic() + POLL_SECONDS > deadline:
                    raise
            time.sleep(POLL_SECONDS)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            found = self.client.get_function_configuration(FunctionName=self.name, aws_retry=True)
            states = (found.get("State", "Active"), found.get("LastUpdateStatus", "Successful"))
            if "Failed" in states:
                reason = found.get("StateReason") or found.get("LastUpdateStatusReason") or "Lambda gives no reason"
                raise ValueError(f"Lambda function {self.name}: it is not ready: {reason}; correct that and run again")
            if states == ("Active", "Successful"):
                return
            if time.monotonic() + POLL_SECONDS > deadline:
                raise ValueError(f"Lambda function {self.name}: it is not ready after {SETTLE_SECONDS:.0f} s; run again")
            time.sleep(POLL_SECONDS)

    def _permit(self, invoker: t.Mapping[str, t.Any] | None) -> None:
        for one in self.statements:
            self.client.remove_permission(FunctionName=self.name, StatementId=one["Sid"], aws_retry=True)
        if invoker:
            self.client.add_permission(FunctionName=self.name, aws_retry=True, **permission(invoker))
