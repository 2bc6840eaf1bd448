# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module is going to change, collected before any of it is done: check mode, diff and a run cannot disagree."""

from __future__ import annotations

import contextlib
import typing as t

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    BotoCoreError = ClientError = Exception  # AnsibleAWSModule reports the missing library

from ansible_collections.amazon.aws.plugins.module_utils.tagging import compare_aws_tags
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.aws_errors import explain


class Changes:
    """An ordered list of changes: what, before, after, and the calls that make it so."""

    def __init__(self) -> None:
        self._changes: list[tuple[str, t.Any, t.Any, t.Callable[[], t.Any]]] = []

    def want(self, what: str, before: t.Any, after: t.Any, apply: t.Callable[[], t.Any]) -> None:
        """Plan `apply` if `before` is not `after`."""
        if before != after:
            self._changes.append((what, before, after, apply))

    def want_tags(
        self,
        what: str,
        before: dict[str, str],
        after: dict[str, str],
        add: t.Callable[[dict[str, str]], t.Any],
        remove: t.Callable[[list[str]], t.Any],
    ) -> None:
        """Plan exactly these tags; `add` gets a dictionary, `remove` a list of keys. AWS's own tags (aws:...) stay."""
        to_add, to_remove = compare_aws_tags(before, after, True)
        if to_add:
            self._changes.append((what, before, after, lambda: add(to_add)))
        if to_remove:
            self._changes.append((what, before, after, lambda: remove(to_remove)))

    def apply(self) -> None:
        for _what, _before, _after, apply in self._changes:
            apply()

    def __bool__(self) -> bool:
        return bool(self._changes)

    @property
    def diff(self) -> dict[str, dict]:
        """In the shape of Ansible's diff mode; empty dictionaries when nothing changes."""
        return {
            "before": {what: before for what, before, _after, _apply in self._changes},
            "after": {what: after for what, _before, after, _apply in self._changes},
        }


def carries(tags: dict[str, str], owner_tags: dict[str, str]) -> bool:
    return all(tags.get(key) == value for key, value in owner_tags.items())


def text_tags(tags: dict[str, t.Any] | None) -> dict[str, str]:
    """AWS keeps tags as text; YAML reads `cost-centre: 42` as a number."""
    return {key: str(value) for key, value in (tags or {}).items()}


def not_ours(what: str, owner_tags: dict[str, str], remedy: str) -> str:
    wanted = ", ".join(f"{key}={value}" for key, value in sorted(owner_tags.items()))
    return f"{what}: it exists but does not carry the tags {wanted}, so it is not ours to touch; {remedy}"


@contextlib.contextmanager
def one_line_failures(module: t.Any, service: str, what: str) -> t.Iterator[None]:
    """End the module with one line about `what` if a call to `service` fails, or a rule refuses with a ValueError."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        operation = getattr(error, "operation_name", "the API")
        module.fail_json(msg=f"{what}: {explain(error, f'{service}:{operation}')}")
    except ValueError as error:
        module.fail_json(msg=str(error))
