"""Which cluster a kubeconfig names."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from relora_kubectl.connection import connect
from relora_kubectl.errors import ExitCode, PluginError
from relora_operator.kube.transport import HttpTransport


def write(
    path: Path,
    *contexts: str,
    current: str | None = None,
    user: Mapping[str, object] | None = None,
    authority: str | None = None,
) -> str:
    cluster = {"server": "https://127.0.0.1:1"} | ({"certificate-authority-data": authority} if authority else {})
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": dict(user or {"token": "t"})}],
        "contexts": [
            {"name": name, "context": {"cluster": "c", "user": "u", "namespace": f"ns-{name}"}} for name in contexts
        ],
    }
    path.write_text(yaml.safe_dump(config | ({"current-context": current} if current else {})))
    return str(path)


async def seen(kubeconfig: str | None, context: str | None = None, **environ: str) -> tuple[str, str]:
    async with connect(kubeconfig, context, environ) as cluster:
        return cluster.context, cluster.namespace


async def test_the_current_context_and_its_namespace_are_used(tmp_path: Path) -> None:
    path = write(tmp_path / "config", "one", "two", current="two")
    assert await seen(path) == ("two", "ns-two")
    assert await seen(path, "one") == ("one", "ns-one")


async def test_the_variable_may_name_several_files(tmp_path: Path) -> None:
    first = write(tmp_path / "first", "one", current="one")
    second = write(tmp_path / "second", "two")
    assert await seen(None, "two", KUBECONFIG=f"{first}:{second}:{tmp_path}/absent") == ("two", "ns-two")
    assert await seen(first, None, KUBECONFIG=second) == ("one", "ns-one")


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "a: b", "current-context: x"])
async def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(PluginError, match=r"cannot use the kubeconfig .*/config: ") as caught:
        await seen(str(tmp_path / "config"))
    assert caught.value.code is ExitCode.UNREACHABLE


PLUGIN = """\
import json, pathlib, sys
count = pathlib.Path(sys.argv[1])
count.write_text(count.read_text() + "x")
status = {"token": f"token-{len(count.read_text())}", "expirationTimestamp": "2020-01-01T00:00:00Z"}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


def with_an_exec_plugin(folder: Path) -> str:
    script, count = folder / "plugin.py", folder / "count"
    script.write_text(PLUGIN)
    count.write_text("")
    arguments = [str(script), str(count)]
    ran = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": arguments}
    return write(folder / "config", "one", current="one", user={"exec": ran})


async def test_a_token_of_an_exec_plugin_that_has_run_out_is_replaced(tmp_path: Path) -> None:
    path = with_an_exec_plugin(tmp_path)

    async with connect(path, None, {}) as cluster:
        configuration = cast("HttpTransport", cluster._transport)._api.configuration
        tokens = [await configuration.get_api_key_with_prefix("BearerToken") for _ in range(2)]

    assert tokens == ["Bearer token-2", "Bearer token-3"]


async def test_a_certificate_that_is_none_is_told_as_a_fault_of_the_kubeconfig(tmp_path: Path) -> None:
    path = write(tmp_path / "config", "one", current="one", authority="DATA+OMITTED")
    with pytest.raises(PluginError, match="cannot use the kubeconfig") as caught:
        await seen(path)
    assert caught.value.code is ExitCode.UNREACHABLE


async def test_an_unknown_context_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="name three"):
        await seen(write(tmp_path / "config", "one", current="one"), "three")


async def test_without_a_kubeconfig_the_remedy_is_told(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="give --kubeconfig or set KUBECONFIG"):
        await seen(None, None, KUBECONFIG=str(tmp_path / "absent"))
