# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's S3, whose bucket policies mind who asks for what, whose listings mind delete markers, whose CORS rules mind
origin, method and headers, and whose signed addresses run out.

moto ignores Condition and most principals, names permissions after HTTP methods, and asks the policy about some
requests only. Here bucket_policies judges every request, and a policy that it cannot judge is refused. moto answers a
browser with what all CORS rules say together, or with none on most requests; here cors_rules finds the one that fits.

moto remembers the KMS key of an object, but does not mind whether anybody may use it.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
"""

from __future__ import annotations

import datetime
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

import flask
from moto.iam.access_control import PermissionResult
from moto.s3 import models, responses
from moto.s3.exceptions import InvalidBucketName, S3AccessDeniedError, S3ClientError

from .. import bucket_policies, cors_rules, kms_keys, requests
from ..bucket_policies import Caller
from ..ecs_permissions import Role
from ..runtime import Runtime
from . import replace

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
BUCKET_NAME = re.compile(
    r"(?!xn--|sthree-|amzn-s3-demo-)(?!\d+\.\d+\.\d+\.\d+$)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
)
DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
RESULTS = {
    bucket_policies.ALLOW: PermissionResult.PERMITTED,
    bucket_policies.DENY: PermissionResult.DENIED,
    bucket_policies.NEITHER: PermissionResult.NEUTRAL,
}
# Operations on objects that encrypt, and those that decrypt; the parts of an upload need both (UsingKMSEncryption).
ENCRYPTING = {"CopyObject", "CreateMultipartUpload", "PutObject", "UploadPart", "UploadPartCopy"}
DECRYPTING = {"CompleteMultipartUpload", "GetObject", "HeadObject", "UploadPart", "UploadPartCopy"}
# The root user can do these whatever the policy says (PutBucketPolicy, GetBucketPolicy, DeleteBucketPolicy).
ROOT_ALWAYS = ("PutBucketPolicy", "GetBucketPolicy", "DeleteBucketPolicy")


# Classes to which S3 moves objects after 30 days at the earliest (PutBucketLifecycleConfiguration).
COOL = ("STANDARD_IA", "ONEZONE_IA")
SIGNED_AT, SIGNED_FOR = "X-Amz-Date", "X-Amz-Expires"


class MalformedPolicy(S3ClientError):
    def __init__(self, message: str) -> None:
        super().__init__("MalformedPolicy", message)


class Expired(S3ClientError):
    code = 403

    def __init__(self) -> None:
        super().__init__("AccessDenied", "Request has expired")


class InvalidLifecycle(S3ClientError):
    def __init__(self, message: str) -> None:
        super().__init__("InvalidArgument", message)


def apply(runtime: Runtime) -> None:
    _patch_policies(runtime)
    _patch_lifecycle()
    plain_list = models.S3Backend.list_objects

    def list_objects(self: Any, bucket: Any, prefix: Any, delimiter: Any, marker: Any, max_keys: Any) -> Any:
        # A prefix with nothing but deleted objects is none (ListObjectsV2, CommonPrefixes); moto counts delete markers.
        keys, prefixes, truncated, following = plain_list(self, bucket, prefix, delimiter, marker, max_keys)
        if prefixes and bucket.is_versioned:
            living = [name for name, key in bucket.keys.items() if not isinstance(key, models.FakeDeleteMarker)]
            prefixes = [one for one in prefixes if any(name.startswith(one) for name in living)]
        return keys, prefixes, truncated, following

    plain_create = models.S3Backend.create_bucket

    def create_bucket(self: Any, bucket_name: str, *arguments: Any, **more: Any) -> Any:
        if not BUCKET_NAME.fullmatch(bucket_name) or bucket_name.endswith(("-s3alias", "--ol-s3")):
            raise InvalidBucketName()
        return plain_create(self, bucket_name, *arguments, **more)

    replace(
        models.S3Backend, "create_bucket", create_bucket, ("self", "bucket_name", "region_name", "bucket_namespace")
    )
    parameters = ("self", "bucket", "prefix", "delimiter", "marker", "max_keys")
    replace(models.S3Backend, "list_objects", list_objects, parameters)


def _patch_policies(runtime: Runtime) -> None:
    account = runtime.settings.account_id
    root = f"arn:aws:iam::{account}:root"

    def asks(request: Any) -> tuple[requests.Operation, Caller]:
        headers, query = requests.headers_of(request.environ), request.environ.get("QUERY_STRING", "")
        scope = requests.scope(headers, query)
        operation = requests.identify(request.method, request.environ["PATH_INFO"], query, headers, b"")
        if scope is None:
            return operation, Caller(account, None)
        role = runtime.credentials.role_of(scope.access_key)
        # Credentials that are not a task's can be any; they count as the owner's.
        return operation, Caller(account, role or root)

    def refuse_denied(self: Any, request: Any) -> None:
        operation, caller = asks(request)
        # DeleteObjects answers object by object.
        if operation.action == "DeleteObjects" or (operation.action in ROOT_ALWAYS and caller.arn == root):
            return
        wanted = [(bucket_policies.permission(operation.action, request.args.get("versionId", "")), operation.resource)]
        source = request.headers.get("x-amz-copy-source")
        if source:
            path, _unused, version = urllib.parse.unquote(source).lstrip("/").partition("?versionId=")
            wanted.append((bucket_policies.permission("GetObject", version), path))
        for action, path in wanted:
            bucket = self.backend.buckets.get(path.partition("/")[0])
            if bucket is None or bucket.policy is None:
                continue
            resource = f"arn:{bucket.partition}:s3:::{path}"
            if bucket_policies.verdict(bucket.policy, caller, action, resource) == bucket_policies.DENY:
                raise S3AccessDeniedError()

    def key_of(backend: Any, path: str, version: str | None) -> str | None:
        """The KMS key that an object is encrypted with."""
        name, _unused, key = path.partition("/")
        found = backend.get_object(name, key, version_id=version) if name in backend.buckets else None
        return found.kms_key_id if getattr(found, "encryption", None) == "aws:kms" else None

    def refuse_without_key(self: Any, request: Any) -> None:
        operation, caller = asks(request)
        bucket = self.backend.buckets.get(operation.resource.partition("/")[0])
        if bucket is None or operation.action not in ENCRYPTING | DECRYPTING:
            return
        rule = ((bucket.encryption or {}).get("Rule") or {}).get("ApplyServerSideEncryptionByDefault") or {}
        key = request.headers.get("x-amz-server-side-encryption-aws-kms-key-id") or rule.get("KMSMasterKeyID")
        if operation.action in ("GetObject", "HeadObject"):
            key = key_of(self.backend, operation.resource, request.args.get("versionId"))
        needed = [("kms:GenerateDataKey", key)] if operation.action in ENCRYPTING else []
        needed += [("kms:Decrypt", key)] if operation.action in DECRYPTING else []
        source = request.headers.get("x-amz-copy-source")
        if source:
            path, _unused, version = urllib.parse.unquote(source).lstrip("/").partition("?versionId=")
            needed.append(("kms:Decrypt", key_of(self.backend, path, version or None)))
        for action, one in needed:
            if kms_keys.is_own(one):
                refuse_key(bucket.region_name, caller, action, str(one))

    def refuse_key(region: str, caller: Caller, action: str, key: str) -> None:
        reason = kms_keys.unusable(account, region, key)
        if reason:
            state = "NotFoundException" if "exist" in reason else "KMSInvalidStateException"
            raise S3ClientError(f"KMS.{'DisabledException' if 'disabled' in reason else state}", reason)
        arn = kms_keys.find(account, region, key).arn
        # Of those who call, only tasks have a role whose policies are known here.
        if caller.arn not in (None, root) and kms_keys.denied(account, str(caller.arn), arn, action):
            raise S3AccessDeniedError()

    def permission(self: Any, action: str, resource: str) -> Any:
        if self.policy is None:
            return PermissionResult.NEUTRAL
        operation, caller = asks(flask.request)
        if operation.action != "DeleteObjects":
            action = bucket_policies.permission(operation.action, flask.request.args.get("versionId", ""))
        return RESULTS[bucket_policies.verdict(self.policy, caller, action, resource)]

    plain_put = models.S3Backend.put_bucket_policy

    def put(self: Any, bucket_name: str, policy: bytes) -> Any:
        try:
            bucket_policies.check(policy)
            _refuse_missing_roles(account, policy)
        except bucket_policies.NotUnderstood as error:
            raise MalformedPolicy(f"The local AWS cannot judge the policy's {error}.") from None
        except ValueError:
            raise MalformedPolicy("Policies must be valid JSON and the first byte must be '{'") from None
        return plain_put(self, bucket_name, policy)

    plain_key, plain_bucket = responses.S3Response._key_response, responses.S3Response._bucket_response

    def key_response(self: Any, request: Any, full_url: str) -> Any:
        if request.method == "OPTIONS":
            return _preflight(self, request)
        _refuse_expired(request.args)
        refuse_denied(self, request)
        refuse_without_key(self, request)
        status, headers, body = plain_key(self, request, full_url)
        # moto says no more than 403 where it denies.
        return status, _told_to_browsers(self, request, headers), body or (DENIED if status == 403 else body)

    def bucket_response(self: Any, request: Any, full_url: str) -> Any:
        if request.method == "OPTIONS":
            return _preflight(self, request)
        _refuse_expired(request.args)
        refuse_denied(self, request)
        found = plain_bucket(self, request, full_url)
        if isinstance(found, tuple):
            status, headers, body = found
            found = status, _told_to_browsers(self, request, headers), body
        return found

    replace(responses.S3Response, "_key_response", key_response, ("self", "request", "full_url"))
    replace(responses.S3Response, "_bucket_response", bucket_response, ("self", "request", "full_url"))
    replace(models.S3Backend, "put_bucket_policy", put, ("self", "bucket_name", "policy"))
    replace(models.FakeBucket, "get_permission", permission, ("self", "action", "resource"))


def _refuse_missing_roles(account: str, policy: bytes) -> None:
    for role in bucket_policies.roles(policy):
        if Role.find(account, role) is None:
            raise MalformedPolicy("Invalid principal in policy")


def _refuse_expired(arguments: Mapping[str, str]) -> None:
    """A signed address is good for so many seconds."""
    if SIGNED_AT in arguments and SIGNED_FOR in arguments:
        signed = datetime.datetime.strptime(arguments[SIGNED_AT] + "+0000", "%Y%m%dT%H%M%SZ%z")
        age = (datetime.datetime.now(datetime.timezone.utc) - signed).total_seconds()
        if age > int(arguments[SIGNED_FOR]):
            raise Expired()


def _cors(response: Any, request: Any) -> list[cors_rules.Rule]:
    bucket = response.backend.buckets.get(request.path.lstrip("/").partition("/")[0])
    return [
        cors_rules.Rule(
            tuple(rule.allowed_origins or ()),
            tuple(rule.allowed_methods or ()),
            tuple(rule.allowed_headers or ()),
            tuple(rule.exposed_headers or ()),
            str(rule.max_age_seconds or ""),
        )
        for rule in (bucket.cors if bucket is not None else ())
    ]


def _preflight(response: Any, request: Any) -> Any:
    """What a browser asks before a script's request."""
    origin, method = request.headers.get("Origin"), request.headers.get("Access-Control-Request-Method")
    if not origin or not method:
        return 400, {}, _error("BadRequest", "Insufficient information. Origin request header needed.")
    rules = _cors(response, request)
    headers = cors_rules.answer(rules, origin, method, request.headers.get("Access-Control-Request-Headers", ""))
    if headers is None:
        return 403, {}, _error("AccessForbidden", cors_rules.NOT_ALLOWED if rules else cors_rules.NOT_ENABLED)
    return 200, headers, ""


def _told_to_browsers(response: Any, request: Any, headers: Mapping[str, Any]) -> dict[str, Any]:
    """An answer's headers, with what the browser needs to hand it to a script of another origin."""
    own = {name: value for name, value in headers.items() if not name.lower().startswith("access-control-")}
    origin = request.headers.get("Origin")
    return own | ((cors_rules.answer(_cors(response, request), origin, request.method) if origin else None) or {})


def _error(code: str, message: str) -> str:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"


def _patch_lifecycle() -> None:
    plain = models.FakeBucket.set_lifecycle

    def set_lifecycle(self: Any, rules: list[dict[str, Any]]) -> None:
        for rule in rules:
            transitions = rule.get("Transition") or []
            for one in transitions if isinstance(transitions, list) else [transitions]:
                if one.get("StorageClass") in COOL and one.get("Days") is not None and int(one["Days"]) < 30:
                    raise InvalidLifecycle(
                        "'Days' in Transition action must be greater than or equal to 30 for storageClass "
                        f"'{one['StorageClass']}'"
                    )
        plain(self, rules)

    replace(models.FakeBucket, "set_lifecycle", set_lifecycle, ("self", "rules"))
