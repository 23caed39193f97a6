"""A program `llmseg` for scripts and Makefiles under test, whose processes fork from one.

Each command runs in a process of its own, in the folder and with the environment and streams of who
called it; only torch is not imported again.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIMIT = 1 << 20  # bytes of a request: the words, the folder, the environment
CLIENT = """#!{python} -ISE
import json, os, socket, sys
words = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({place!r})
    socket.send_fds(server, [len(words).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(words)
    sys.exit(int(server.recv(8) or b"1"))
"""


@contextmanager
def llmseg_on_path(folder: Path) -> Iterator[Path]:
    """The folder of the program, to stand first on the path; its server ends with the context."""
    place = folder / "socket"
    program = folder / "llmseg"
    program.write_text(CLIENT.format(python=sys.executable, place=str(place)))
    program.chmod(0o755)
    command = [sys.executable, __file__, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        try:
            yield folder
        finally:
            server.terminate()


def _serve(place: str) -> None:
    import llmseg_cli.workflows.train.run  # noqa: F401 - what takes long
    from llmseg_cli.cli import main

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place)
        server.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            client, _ = server.accept()
            if os.fork() == 0:  # one to wait, one to run
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(client, main)
            client.close()


def _answer(client: socket.socket, main: object) -> None:
    head, streams, _, _ = socket.recv_fds(client, 4, 3)
    text = b""
    while len(text) < int.from_bytes(head, "big"):
        text += client.recv(LIMIT)
    words, folder, environment = json.loads(text)
    pid = os.fork()
    if pid == 0:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["llmseg", *words]
        code: object = 1
        try:
            main()  # type: ignore[operator]
        except SystemExit as leaving:
            code = leaving.code or 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 1)
    _, status = os.waitpid(pid, 0)
    client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1])
