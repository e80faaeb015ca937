"""How to reach the API server: by a kubeconfig and its context, as kubectl does."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_kube_config

from relora_kubectl.cluster import Cluster
from relora_kubectl.errors import ExitCode, PluginError
from relora_operator.kube.transport import HttpTransport

USER_AGENT = "kubectl-relora"


@asynccontextmanager
async def connect(
    kubeconfig: str | None, context: str | None, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Cluster]:
    """Yield the cluster of a kubeconfig's context.

    Args:
        kubeconfig: The file; None for $KUBECONFIG (which may name several), else ~/.kube/config.
        context: None for the current one.
        environ: The environment.

    Raises:
        PluginError: There is no usable kubeconfig, or it has no such context.
    """
    paths = _existing(kubeconfig or environ.get("KUBECONFIG") or "~/.kube/config")
    configuration = Configuration()
    try:
        # Tokens that are refreshed are not written back: the loader saves before it refreshes.
        loader = await load_kube_config(
            config_file=paths, context=context, client_configuration=configuration, persist_config=False
        )
        chosen = loader.current_context
        name, namespace = str(chosen["name"]), str(chosen["context"].get("namespace") or "default")
    except (ConfigException, OSError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        # The last three are the loader's way to say that a file is no kubeconfig.
        raise PluginError(f"cannot use the kubeconfig {paths}: {error}", ExitCode.UNREACHABLE) from error
    api = ApiClient(configuration)
    api.user_agent = USER_AGENT
    transport = HttpTransport(api)
    try:
        yield Cluster(transport, context=name, namespace=namespace)
    finally:
        await transport.close()


def _existing(paths: str) -> str:
    if not any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path):
        raise PluginError(f"no kubeconfig at {paths}: give --kubeconfig or set KUBECONFIG", ExitCode.UNREACHABLE)
    return paths
