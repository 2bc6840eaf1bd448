# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a listener's security policy allows, as the proxy's TLS settings; pure functions.

Only policies that the proxy serves exactly: it has neither TLS 1.0 and 1.1 nor all the CBC cipher suites of the others.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html
"""

from __future__ import annotations

from typing import Any

from .load_balancer_rules import Unsupported

RESTRICTED_SUITES = (
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
)
# Policy to (oldest version of TLS, cipher suites of TLS 1.2)
POLICIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ELBSecurityPolicy-TLS13-1-3-2021-06": ("tls1.3", ()),
    "ELBSecurityPolicy-TLS13-1-2-Res-2021-06": ("tls1.2", RESTRICTED_SUITES),
}


def check_policy(name: str | None) -> None:
    """Unsupported for a policy that cannot be served exactly."""
    if name not in POLICIES:
        raise Unsupported(
            f"security policy '{name}' is not supported by the local AWS: use {' or '.join(sorted(POLICIES))}"
        )


def connection_policy(name: str) -> dict[str, Any]:
    oldest, suites = POLICIES[name]
    return {"protocol_min": oldest, **({"cipher_suites": list(suites)} if suites else {})}


def certificates_from(url: str) -> dict[str, Any]:
    """The part of the proxy's configuration that has it ask for the certificate of every handshake."""
    return {"automation": {"policies": [{"get_certificate": [{"via": "http", "url": url}]}]}}
