"""Servers of a test's own: PostgreSQL from the system's package, Optuna's proxy."""

import contextlib
import getpass
import importlib.util
import shutil
import socket
import subprocess
from pathlib import Path

import optuna
from killed_sweeps import PROCESSES


def postgresql_programs():
    """The directory of PostgreSQL's programs; None without them, or the driver."""
    if importlib.util.find_spec("psycopg") is None:
        return None
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def postgresql(directory):
    """The URL of a database in a new directory. Root runs it as postgres."""
    programs, port, data = postgresql_programs(), free_port(), Path(directory) / "data"
    assert programs is not None
    prefix = []
    if getpass.getuser() == "root":
        prefix = ["runuser", "-u", "postgres", "--"]
        data = Path("/tmp") / f"jopt-postgresql-{port}"
    data.mkdir()
    if prefix:
        shutil.chown(data, "postgres")

    def run(name, *arguments):
        subprocess.run(
            [*prefix, str(programs / name), "-D", str(data), *arguments],
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )

    try:
        run("initdb", "-A", "trust", "-U", "jopt")
        options = f"-p {port} -k {data} -c fsync=off"
        run("pg_ctl", "-o", options, "-l", str(data / "log"), "-w", "start")
        try:
            yield f"postgresql://jopt@localhost:{port}/postgres"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(data)


@contextlib.contextmanager
def proxy(directory):
    """The URL of Optuna's proxy, which keeps studies in its memory."""
    port = free_port()
    server = PROCESSES.Process(target=_serve, args=(port,))
    server.start()
    try:
        yield f"grpc://localhost:{port}"
    finally:
        server.kill()
        server.join()


def _serve(port):
    storage = optuna.storages.InMemoryStorage()
    optuna.storages.run_grpc_proxy_server(storage, host="localhost", port=port)
