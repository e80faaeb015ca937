"""Which cluster a kubeconfig names."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from relora_kubectl.connection import connect
from relora_kubectl.errors import ExitCode, PluginError


def write(path: Path, *contexts: str, current: str | None = None) -> str:
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
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


async def test_an_unknown_context_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="name three"):
        await seen(write(tmp_path / "config", "one", current="one"), "three")


async def test_without_a_kubeconfig_the_remedy_is_told(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="give --kubeconfig or set KUBECONFIG"):
        await seen(None, None, KUBECONFIG=str(tmp_path / "absent"))
