"""A PostgreSQL server of one's own on loopback, where the machine has one installed."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDERS = (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/local/bin"))


def binaries() -> Path | None:
    """The folder of PostgreSQL's programs, which Debian keeps out of the PATH."""
    named = shutil.which("initdb")
    if named:
        return Path(named).parent
    return next((folder for folder in FOLDERS if (folder / "initdb").exists()), None)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The server's URL, without a database. Its data are below `folder`, and it is never reached from elsewhere."""
    programs = binaries()
    assert programs is not None
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    data = folder / "postgres"
    data.mkdir()
    if user:
        shutil.chown(data, user, user)
        for each in (folder, *folder.parents):  # pytest's folders are for their user alone
            if each.is_relative_to("/tmp") and each != Path("/tmp"):
                each.chmod(each.stat().st_mode | 0o011)

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
