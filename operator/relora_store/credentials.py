"""The credentials of a store: those of a mounted Secret, or the environment's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from relora_contract.request import CredentialMount
from relora_store.errors import ConfigurationError, NotFoundError
from relora_store.localfiles import translated

DEFAULT_REGION = "us-east-1"
"""What S3 gateways other than AWS's expect when nothing is said."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a connection is opened with.

    Attributes:
        key: Access key; None leaves the search for credentials to the library: environment, then workload identity.
        secret: Its secret.
        token: Its session token.
        endpoint: URL of the endpoint; None is AWS's.
        region: Region that requests are signed for.
    """

    key: str | None
    secret: str | None = field(repr=False)
    token: str | None = field(repr=False)
    endpoint: str | None
    region: str


def read_credentials(mount: CredentialMount | None, environ: Mapping[str, str]) -> Credentials:
    """Return the credentials of a mounted Secret as they are now; without a mount the environment's.

    Raises:
        ConfigurationError: A key is missing, or the endpoint holds a password.
    """
    if mount is None:
        endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
        key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
        token = environ.get("AWS_SESSION_TOKEN")
    else:
        folder = Path(mount.directory)
        endpoint, region = mount.endpoint, _secret_value(folder, "AWS_REGION")
        key, secret = _required(folder, "AWS_ACCESS_KEY_ID"), _required(folder, "AWS_SECRET_ACCESS_KEY")
        token = _secret_value(folder, "AWS_SESSION_TOKEN")
    if endpoint and "@" in endpoint:
        raise ConfigurationError("the store's endpoint holds a user or a password; put them into the Secret")
    return Credentials(key=key, secret=secret, token=token, endpoint=endpoint, region=region or DEFAULT_REGION)


def _required(folder: Path, name: str) -> str:
    value = _secret_value(folder, name)
    if not value:
        raise ConfigurationError(f"the Secret mounted at {folder} has no {name}")
    return value


def _secret_value(folder: Path, name: str) -> str | None:
    path = folder / name
    try:
        with translated(path):
            return path.read_text().strip() or None
    except NotFoundError:
        return None
