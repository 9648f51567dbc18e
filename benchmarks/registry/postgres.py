"""A private PostgreSQL server on loopback, if PostgreSQL is installed."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDERS = (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/local/bin"))


def find_binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs (on Debian it is not in PATH), or None."""
    named = shutil.which("initdb")
    if named:
        return Path(named).parent
    return next((folder for folder in FOLDERS if (folder / "initdb").exists()), None)


@contextmanager
def run_server() -> Iterator[str]:
    """Yield the server's URL, without a database name.

    PostgreSQL refuses to run as root, so as root its data folder belongs to the user postgres.
    """
    programs = find_binaries()
    assert programs is not None
    user = "postgres" if os.geteuid() == 0 else None
    place = Path(tempfile.mkdtemp(prefix="worldtune-postgres-"))
    data = place / "data"
    if user:
        shutil.chown(place, user, user)

    def run(*command: str) -> None:
        subprocess.run([programs / command[0], *command[1:]], check=True, capture_output=True, user=user, cwd="/")

    run("initdb", "-D", str(data), "-U", "worldtune", "-A", "trust", "-E", "UTF8", "--no-sync")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    run("pg_ctl", "-D", str(data), "-o", options, "-l", str(data / "log"), "-w", "start")
    try:
        yield f"postgresql+psycopg://worldtune@127.0.0.1:{port}"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(place)
