"""A server of a few lines on this machine, for as long as a block lasts."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@contextmanager
def listening(desk: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address at which `desk` answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), desk) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
