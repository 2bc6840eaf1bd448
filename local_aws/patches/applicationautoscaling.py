# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Application Auto Scaling that scales ECS services, in the place of moto's, which only keeps what it is told.

moto 5.2.5 knows no tags and no scaling activities here, gives every ECS alarm the threshold 6, answers a missing
policy with the wrong error, leaves the policies of a deregistered target behind and takes any schedule.
The API: https://docs.aws.amazon.com/autoscaling/application/APIReference/API_Operations.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse as RESPONSE
from moto.core.exceptions import JsonRESTError
from moto.core.resource_tagging import TaggedResource
from moto.ecs.models import EC2ContainerServiceBackend

from ..autoscaling import AutoScaling
from ..autoscaling_api import OPERATIONS, Api, Operation, RequestError
from ..runtime import Runtime
from . import replace

# What moto has no method for.
MISSING = ("describe_scaling_activities", "tag_resource", "untag_resource", "list_tags_for_resource")


def apply(runtime: Runtime) -> None:
    scaling = AutoScaling()
    for name, operation in OPERATIONS.items():
        if name not in MISSING:
            replace(RESPONSE, name, _answering(scaling, operation), ("self",))
        elif hasattr(RESPONSE, name):
            raise TypeError(f"moto has {RESPONSE.__name__}.{name} now: the patch for it must be looked at")
        else:
            setattr(RESPONSE, name, _answering(scaling, operation))
    _patch_tagged_resources(scaling)
    runtime.reconcilers.append(scaling)
    runtime.alarm_actions["arn:aws:autoscaling:"] = scaling.on_alarm


def _patch_tagged_resources(scaling: AutoScaling) -> None:
    plain = EC2ContainerServiceBackend.iter_tagged_resources

    def iter_tagged_resources(self: Any) -> Iterator[Any]:
        """GetResources finds the targets of services too; moto's own backend of them takes no part in it."""
        yield from plain(self)
        for (account_id, region, _resource_id), target in list(scaling.targets.items()):
            if (account_id, region) == (self.account_id, self.region_name):
                yield TaggedResource(target.arn, target.tags, "application-autoscaling:scalable-target")

    replace(EC2ContainerServiceBackend, "iter_tagged_resources", iter_tagged_resources, ("self",))


def _answering(scaling: AutoScaling, operation: Operation) -> Callable[[Any], str]:
    def answer(self: Any) -> str:
        api = Api(scaling, self.current_account, self.region)
        try:
            with scaling.lock:
                return json.dumps(operation(api, json.loads(self.body or "{}")))
        except RequestError as error:
            raise JsonRESTError(error.code, str(error)) from None

    return answer
