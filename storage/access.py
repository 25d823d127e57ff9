"""Who asks an object store, and where it stands: from the environment names that everyone uses.

Nothing here is written anywhere: keys go to pyarrow and DuckDB as arguments, and an `Access` does
not show them when it is printed.
"""

import configparser
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_REGION = "us-east-1"
SET_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


class StoreError(OSError):
    """An object store did not do what was asked of it; names its address and the mend."""


class StoreUnreachable(StoreError):
    """Nothing answers at the store's address."""


class StoreDenied(StoreError):
    """The store does not let these credentials do that."""


class BucketMissing(StoreError):
    """The store has no such bucket."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a store is reached.

    Attributes:
        key_id: access key.
        secret: its secret.
        session_token: of temporary credentials, else empty.
        region: of the bucket.
        endpoint: `http(s)://host:port` of an S3-compatible store; empty for AWS itself.
        ca_file: certificates that its TLS is checked against; empty for the system's.
    """

    key_id: str
    secret: str = field(repr=False)
    session_token: str = field(repr=False)
    region: str
    endpoint: str
    ca_file: str

    @property
    def is_tls(self) -> bool:
        """Whether the store is asked over https."""
        return not self.endpoint.startswith("http://")

    @property
    def host(self) -> str:
        """The endpoint without its scheme, as path-style requests name it."""
        return self.endpoint.partition("://")[2]

    @property
    def address(self) -> str:
        """The endpoint, for messages."""
        return self.endpoint or f"AWS S3 in {self.region}"


def access() -> Access:
    """The access that the environment gives, else the profile in the shared files of AWS's tools.

    Reads AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION or
    AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, AWS_CA_BUNDLE, AWS_PROFILE,
    AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE. Raises StoreDenied without credentials, and
    ValueError for an endpoint that is no http(s) address.
    """
    profile = _profile()
    key_id, secret = _named("AWS_ACCESS_KEY_ID"), _named("AWS_SECRET_ACCESS_KEY")
    token = _named("AWS_SESSION_TOKEN")
    if not (key_id and secret):
        key_id, secret = profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")
        token = profile.get("aws_session_token")
    if not (key_id and secret):
        raise StoreDenied(f"no credentials for the object store; {SET_KEYS}")
    endpoint = _named("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") or profile.get("endpoint_url", "")
    return Access(
        key_id=key_id,
        secret=secret,
        session_token=token or "",
        region=_named("AWS_REGION", "AWS_DEFAULT_REGION")
        or profile.get("region", "")
        or DEFAULT_REGION,
        endpoint=_checked(endpoint.rstrip("/")),
        ca_file=_named("AWS_CA_BUNDLE"),
    )


def _named(*names: str) -> str:
    return next((value for name in names if (value := os.environ.get(name))), "")


def _checked(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    # An endpoint with a user in it would show a password in messages.
    if endpoint and (
        parts.scheme not in ("http", "https") or not parts.hostname or "@" in endpoint
    ):
        raise ValueError("AWS_ENDPOINT_URL_S3: give http://host:port or https://host:port")
    return endpoint


def _profile() -> dict[str, str]:
    """The options of the chosen profile in both shared files; empty without the files.

    Raises ValueError for a profile that was named and is in neither, and for a broken file.
    """
    wanted = os.environ.get("AWS_PROFILE", "default")
    found: dict[str, str] = {}
    for variable, default, section in (
        ("AWS_CONFIG_FILE", "~/.aws/config", f"profile {wanted}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", wanted),
    ):
        path = Path(os.environ.get(variable, default)).expanduser()
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, "utf-8")
        except (configparser.Error, UnicodeDecodeError):
            # The parser's own words quote the line, which may be a secret.
            raise ValueError(f"{path}: not a file of AWS profiles; mend or move it") from None
        for name in (section, wanted):
            if parser.has_section(name):
                found |= dict(parser.items(name))
    if "AWS_PROFILE" in os.environ and not found:
        raise ValueError(f"AWS_PROFILE {wanted}: there is no such profile in ~/.aws; name another")
    return found
