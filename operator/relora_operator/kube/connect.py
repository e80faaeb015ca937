"""How to reach the API server: from inside a pod, or by a kubeconfig; for our client and for kopf alike."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.request import getproxies

import kopf
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from relora_operator.kube.transport import HttpTransport

USER_AGENT = "relora-operator"

Login = Callable[[], Awaitable[kopf.ConnectionInfo]]
"""How kopf gets the credentials of the moment: at the start, and again whenever the server answers 401."""


class ConnectionConfigError(Exception):
    """There is no usable configuration of the API server."""


async def connect(kubeconfig: Path | None) -> tuple[HttpTransport, Login]:
    """Return a transport, and the function by which kopf logs in.

    Args:
        kubeconfig: The file to use; None inside a pod.

    Raises:
        ConnectionConfigError: The file is unusable, or this is no pod.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None:
            load_incluster_config(configuration)
        else:
            await load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    except (ConfigException, OSError) as error:
        where = f"the kubeconfig {kubeconfig}" if kubeconfig else "a pod (is --kubeconfig missing?)"
        raise ConnectionConfigError(f"cannot configure the API server from {where}: {error}") from error
    # With it aiohttp asks a thread for the environment's proxies at each request, which triples a request's cost.
    configuration.client_session_kwargs = {"trust_env": bool(getproxies())}
    api = ApiClient(configuration)
    api.user_agent = USER_AGENT

    async def login() -> kopf.ConnectionInfo:
        return await _connection_info(configuration)

    return HttpTransport(api), login


async def _connection_info(configuration: Configuration) -> kopf.ConnectionInfo:
    header: str | None = await configuration.get_api_key_with_prefix("BearerToken")
    scheme, _, token = header.partition(" ") if header else ("", "", "")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )
