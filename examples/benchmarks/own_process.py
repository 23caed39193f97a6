"""Work in a process of its own, asked for step by step."""

import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch

PATIENCE_S = 10  # for a process to end by itself


@contextmanager
def own_process(make: Callable[..., Callable[[], Any]], *arguments: Any) -> Iterator[Any]:
    """A new process in which *make* is called once; it lives as long as the context.

    What a tool sets for a whole process (how the C library hands out memory, threads, switches of
    torch) reaches no other tool, and each has what it would have by itself.

    Args:
        make: Function at the top of a module; prepares the work and returns what does it once.
        arguments: For *make*.

    Yields:
        Does the work once over there, GPU included, and returns its result, which travels pickled
        and is better small.

    Raises:
        RuntimeError: With the other process' traceback, if something is raised there.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make, arguments), daemon=True)
    process.start()
    there.close()

    def answer() -> Any:
        try:
            failed, found = here.recv()
        except EOFError:
            process.join(PATIENCE_S)
            raise RuntimeError(f"{make.__name__} ended with {process.exitcode}") from None
        if failed:
            raise RuntimeError(f"{make.__name__}, in its own process:\n{found}")
        return found

    def step() -> Any:
        here.send("step")
        return answer()

    try:
        answer()  # it is ready
        yield step
    finally:
        here.close()
        process.join(PATIENCE_S)
        if process.is_alive():
            process.terminate()
            process.join()


def _serve(pipe: Connection, make: Callable[..., Callable[[], Any]], arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    try:
        work = make(*arguments)
        pipe.send((False, None))
        while pipe.recv() == "step":
            found = work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            pipe.send((False, found))
    except (EOFError, BrokenPipeError):  # the parent has finished
        return
    except Exception:  # whatever it is, it is raised again over there
        pipe.send((True, traceback.format_exc()))
