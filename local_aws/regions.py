# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests for a region that does not exist are refused, in the words of the service that is asked.

AWS has no endpoint there at all; with one address for all regions the nearest to it is the answer to a signature for
the wrong region.
https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import botocore.session

from . import requests
from .refusals import Codes, refusal

CODES = Codes("AuthorizationHeaderMalformed", "AuthFailure", "InvalidSignatureException", "SignatureDoesNotMatch")
MESSAGE = "Credential should be scoped to a valid region."


@functools.cache
def known() -> frozenset[str]:
    session = botocore.session.Session()
    return frozenset(
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition_name=partition)
    )


class Regions:
    """WSGI middleware."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = requests.headers_of(environ)
        scope = requests.scope(headers, environ.get("QUERY_STRING", ""))
        if scope is None or scope.region in known():
            return self._application(environ, start_response)
        answer, body = refusal(scope.service, headers, CODES, MESSAGE)
        start_response("400 Bad Request", answer)
        return [body]
