"""How to reach the API server: by a kubeconfig and its context, as kubectl does."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_kube_config
from kubernetes.aio.config.kube_config import KubeConfigLoader

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
        if getattr(loader, "exec_plugin_expiry", None) is not None:
            configuration.refresh_api_key_hook = partial(_refresh, loader)
        api = ApiClient(configuration)
    except (ConfigException, OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        # The last four are the loader's way to say that a file is no kubeconfig, or a certificate none.
        raise PluginError(f"cannot use the kubeconfig {paths}: {error}", ExitCode.UNREACHABLE) from error
    api.user_agent = USER_AGENT
    transport = HttpTransport(api)
    try:
        yield Cluster(transport, context=name, namespace=namespace)
    finally:
        await transport.close()


async def _refresh(loader: KubeConfigLoader, configuration: Configuration) -> None:
    """Ask the kubeconfig's exec plugin for another token when the last one has run out; a watch may take longer."""
    if await loader.load_from_exec_plugin():
        configuration.api_key["BearerToken"] = loader.token


def _existing(paths: str) -> str:
    if not any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path):
        raise PluginError(f"no kubeconfig at {paths}: give --kubeconfig or set KUBECONFIG", ExitCode.UNREACHABLE)
    return paths
