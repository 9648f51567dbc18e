"""A small HTTP server on this machine, for the length of a block."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Desk(BaseHTTPRequestHandler):
    """A request handler that keeps connections open and writes no log."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, data: bytes, headers: dict[str, str], given: int | None = None) -> None:
        """Send the answer, or only its first `given` bytes. For a HEAD request send only the headers."""
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:given])


@contextmanager
def listening(desk: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server with the handler `desk` within the block, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), desk) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
