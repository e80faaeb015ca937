"""Carries TCP connections from the host into a node's network.

It runs inside the node's network with listening sockets that were opened outside: a socket stays in the network that
it was made in.
"""

import asyncio
import socket
import sys
from contextlib import suppress

_CHUNK = 1 << 18


def listen(port: int) -> socket.socket:
    """Return a listening socket on the loopback device.

    The protocol is named because asyncio turns Nagle's algorithm off only where it is: with it, every small request
    waits for 40 ms.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


async def forward(listener: socket.socket, address: str, port: int) -> asyncio.Server:
    """Carry every connection that ``listener`` takes to ``address`` and ``port``."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(address, port, limit=_CHUNK)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
        for end in (writer, there[1]):
            end.close()
            with suppress(OSError):
                await end.wait_closed()

    return await asyncio.start_server(carry, sock=listener, limit=_CHUNK)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()


async def _main(routes: list[str]) -> None:
    for route in routes:
        descriptor, address, port = route.split(":")
        await forward(socket.socket(fileno=int(descriptor)), address, int(port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
