"""A server of a test listens while the test uses it, and no longer, however the test ends."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

POLL_S = 0.02  # how soon a server notices that it shall stop


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[ThreadingHTTPServer]:
    """Let *server* answer from a thread of its own, which has ended when this is left.

    A thread that is left behind waits on a closed socket, which never blocks: it takes a whole
    core from every test that follows.
    """
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
