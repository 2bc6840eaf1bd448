# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What went wrong between here and AWS, as one line with its remedy."""

from __future__ import annotations

from typing import Any

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import one_line

RENEW = "renew them (aws sso login, aws sts assume-role, or new access keys) and run again"
GIVE = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached"

MAX_TEXT = 200

# Error codes of STS, EC2, S3 and RDS -> what they mean.
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
UNKNOWN = {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "InvalidToken"}
MISSIGNED = {"SignatureDoesNotMatch", "IncompleteSignature", "InvalidSignatureException"}
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"}
NOT_ENABLED = {"OptInRequired", "AuthFailure"}


def error_code(error: Exception) -> str:
    """The code of a botocore ClientError such as ``AccessDenied``; empty for any other exception."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def explain(error: Exception, action: str) -> str:
    """One line about ``error``, which calling ``action`` (``service:Operation``) raised: what, reason, remedy."""
    code = error_code(error)
    if code in EXPIRED:
        return f"AWS credentials: they have expired ({code} from {action}); {RENEW}"
    if code in UNKNOWN:
        return f"AWS credentials: AWS does not know them ({code} from {action}); {GIVE}"
    if code in MISSIGNED:
        return (
            f"AWS credentials: the secret key does not belong to the access key ({code} from {action}); "
            "copy both again, and check this machine's clock"
        )
    if code in DENIED:
        return f"AWS permissions: {action} is denied to these credentials ({code}); allow {action} for them"
    if code in NOT_ENABLED:
        return (
            f"AWS region: {action} is refused ({code}), as when the region is not enabled for the account; "
            "enable it in the account settings, or choose another region"
        )
    return _explain_client_side(error, action, code)


def _explain_client_side(error: Exception, action: str, code: str) -> str:
    kind = type(error).__name__
    if kind in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"):
        return f"AWS credentials: {one_line(error)}; {GIVE}"
    if kind in ("TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError"):
        return f"AWS credentials: {one_line(error)}; {RENEW}"
    if kind in (
        "EndpointConnectionError",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ConnectionClosedError",
        "ProxyConnectionError",
        "SSLError",
        "ResponseParserError",
    ):
        return f"AWS endpoint: {one_line(error)[:MAX_TEXT]} ({action}); check network, proxy and AWS_ENDPOINT_URL"
    return f"AWS: {action} failed: {one_line(error)[:MAX_TEXT] or code or kind}; see the AWS status page if it stays so"
