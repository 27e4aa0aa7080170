"""Addresses that somebody gives: ports to listen on, taken before anything else begins, and addresses on the web.

What cannot be had, or is none, is bad input.
"""

import socket
from typing import Any, Final
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, start_http_server

from torghut_runtime.errors import InputError

LOOPBACK: Final = "127.0.0.1"


def listening_socket(port: int, host: str = LOOPBACK) -> socket.socket:
    """A socket bound to a port, 0 for a free one.

    Raises:
        InputError: the port is taken, or nobody has this host.
    """
    try:
        # The protocol is named: asyncio switches delays off (TCP_NODELAY) only for sockets that say they are TCP.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise _refused(host, port, error) from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)  # who reads the address may connect at once
    except OSError as error:
        listener.close()
        raise _refused(host, port, error) from error
    return listener


def metrics_server(port: int, registry: CollectorRegistry, host: str = LOOPBACK) -> Any:
    """Serve a registry in a thread: server and thread, as :func:`prometheus_client.start_http_server` gives them.

    Raises:
        InputError: the port is taken.
    """
    try:
        return start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise _refused(host, port, error, "--metrics-port") from error


def is_web_address(text: str) -> bool:
    """Whether a text is an http or https address with a host."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _refused(host: str, port: int, error: Exception, field: str = "--port") -> InputError:
    why = error.strerror if isinstance(error, OSError) else "is no name of a host"
    return InputError(f"{host}:{port} cannot be listened on: {why}", field=field)
