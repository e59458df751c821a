"""Talking to S3: one client per process, and its errors in words.

Credentials, region, profile, retry mode (`AWS_RETRY_MODE`, `AWS_MAX_ATTEMPTS`) and endpoint
(`AWS_ENDPOINT_URL`) come from boto3's own chain. None of them is kept in a store, and of an error
only its code is shown: messages of services may quote what was sent.
"""

from __future__ import annotations

import errno
import functools
from typing import Any

from nadir.ground.errors import NadirError

_ATTEMPTS = 5
_CONNECTIONS = 32
_TIMEOUT_S = 20
_CREDENTIALS_FIX = (
    "give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, that may list and read it"
)
_ENDPOINT_FIX = "check the network, ingest.endpoint_url and AWS_ENDPOINT_URL, then run again"
_REFUSED = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "TokenRefreshRequired",
        "AuthorizationHeaderMalformed",
        "RequestTimeTooSkewed",
        "AccountProblem",
    }
)
_DENIED = frozenset({"AccessDenied", "403", "AllAccessDisabled"})
_ABSENT = frozenset({"NoSuchKey", "404", "NotFound"})


@functools.lru_cache(maxsize=4)
def s3_client(endpoint_url: str | None) -> Any:
    """boto3's client for an endpoint; None takes the environment's. Clients are thread-safe."""
    import boto3
    from botocore.config import Config

    session = boto3.session.Session()
    stated = session._session  # noqa: SLF001 - the only way to see which settings were made
    settings: dict[str, Any] = {}
    # botocore's own default is its oldest mode, which does not retry throttled requests enough.
    if stated.get_config_variable("retry_mode") == "legacy":
        attempts = stated.get_config_variable("max_attempts") or _ATTEMPTS
        settings["retries"] = {"mode": "standard", "total_max_attempts": attempts}
    if endpoint_url:
        # Servers other than Amazon's seldom have a host name for every bucket.
        style = (stated.get_scoped_config().get("s3") or {}).get("addressing_style", "path")
        settings["s3"] = {"addressing_style": style}
    config = Config(
        max_pool_connections=_CONNECTIONS,
        connect_timeout=_TIMEOUT_S,
        read_timeout=3 * _TIMEOUT_S,
        **settings,
    )
    return session.client("s3", endpoint_url=endpoint_url, config=config)


def error_code(error: Exception) -> str:
    """S3's code of a refused request; empty for other errors."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def place_error(error: Exception, bucket: str) -> NadirError | None:
    """A fault of the whole place: no such bucket, no credentials, no network. None for others."""
    from botocore import exceptions as boto

    code, where = error_code(error), f"s3://{bucket}"
    if code == "NoSuchBucket":
        return NadirError("the bucket does not exist", where=where, fix="correct ingest.source")
    if code in _REFUSED:
        return NadirError(
            f"the credentials are refused ({code})", where=where, fix=_CREDENTIALS_FIX
        )
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return NadirError("there are no credentials for S3", where=where, fix=_CREDENTIALS_FIX)
    if isinstance(error, boto.ConnectionError | boto.HTTPClientError):
        kind = type(error).__name__
        return NadirError(f"S3 cannot be reached ({kind})", where=where, fix=_ENDPOINT_FIX)
    if isinstance(error, boto.BotoCoreError):
        kind = type(error).__name__
        fix = "correct the AWS settings of the environment, or ingest.endpoint_url"
        return NadirError(f"S3 cannot be used ({kind})", where=where, fix=fix)
    return None


def listing_error(error: Exception, bucket: str) -> NadirError:
    """What to say when a bucket cannot be listed."""
    found = place_error(error, bucket)
    if found is not None:
        return found
    code, where = error_code(error), f"s3://{bucket}"
    if code in _DENIED:
        return NadirError(f"listing it is not allowed ({code})", where=where, fix=_CREDENTIALS_FIX)
    return NadirError(f"S3 refuses to list it ({code})", where=where, fix=_ENDPOINT_FIX)


def object_error(error: Exception, bucket: str) -> Exception:
    """What to raise when one object cannot be read: `OSError`, or `NadirError` for the place."""
    found = place_error(error, bucket)
    if found is not None:
        return found
    code = error_code(error)
    if code in _ABSENT:
        return FileNotFoundError(errno.ENOENT, "the object does not exist")
    if code in _DENIED:
        return PermissionError(errno.EACCES, f"S3 does not allow reading it ({code})")
    return OSError(errno.EIO, f"S3 refuses to give it ({code or type(error).__name__})")
