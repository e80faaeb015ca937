"""Runs a health check as Argo CD does: Lua 5.1 with the libraries that it opens (util/lua/lua.go), and the object."""

from dataclasses import dataclass
from functools import cache

from lupa.lua51 import LuaRuntime

from gitops.kstatus import Document

# Argo CD opens base, package, table and a part of os; without `string`, texts have no methods either.
_SANDBOX = """
getmetatable("").__index = nil
for _, name in ipairs({"coroutine", "debug", "io", "math", "os", "python", "string"}) do _G[name] = nil end
"""


@dataclass(frozen=True)
class Health:
    """What a health check returned."""

    status: str
    message: str


def health(script: str, document: Document) -> Health:
    """Return what a script says of an object."""
    lua = _interpreter()
    lua.globals().obj = lua.table_from(document, recursive=True)
    returned = lua.execute(script)
    assert set(returned) == {"status", "message"}
    return Health(returned.status, returned.message)


@cache
def _interpreter() -> LuaRuntime:
    lua = LuaRuntime(register_eval=False)
    lua.execute(_SANDBOX)
    return lua
