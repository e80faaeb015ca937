"""The operator's own endpoints: /healthz, /readyz and /metrics.

kopf's liveness endpoint says only that its task runs; here a leader that no longer follows the cluster is unhealthy.
"""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

_IPV4_PARTS = 2

Check = Callable[[], str | None]
"""Returns what is wrong, or None."""


class HealthServer:
    """Serves the endpoints.

    Args:
        port: 0 for any free port.
        alive: Checks of /healthz by name.
        ready: Checks of /readyz by name.
        registry: What /metrics shows.
    """

    def __init__(
        self,
        *,
        port: int,
        alive: Mapping[str, Check],
        ready: Mapping[str, Check],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._port = port
        self._registry = registry
        application = web.Application()
        application.router.add_get("/healthz", _endpoint(alive))
        application.router.add_get("/readyz", _endpoint(ready))
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> int:
        """Listen on every address, and return the port; with port 0 that of IPv4, as IPv6 gets another one.

        Raises:
            OSError: The port is taken.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, port=self._port)
        await site.start()
        sockets = self._runner.addresses
        port: int = next((address for address in sockets if len(address) == _IPV4_PARTS), sockets[0])[1]
        return port

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _endpoint(checks: Mapping[str, Check]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        findings = {name: check() for name, check in checks.items()}
        lines = [f"{name}: {problem or 'ok'}" for name, problem in findings.items()]
        healthy = not any(findings.values())
        return web.Response(text="\n".join([*lines, ""]), status=200 if healthy else 500)

    return answer
