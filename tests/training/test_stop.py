"""Signals become a request; a second Ctrl-C is not a request."""

import os
import signal
import threading

import pytest

from llmseg_cli.errors import StoppedError
from llmseg_cli.training.stop import SIGNALS, StopRequest, stop_on_signals, stoppable


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_said(number, caplog):
    with stop_on_signals() as stop:
        assert not stop
        send(number)
        assert stop
    assert stop.signal == signal.Signals(number).name
    assert f"{stop.signal}: saving and stopping; press Ctrl-C again" in caplog.text


@pytest.mark.parametrize("first", SIGNALS)
def test_ctrl_c_after_a_signal_leaves_at_once(first):
    with stop_on_signals() as stop:
        with pytest.raises(KeyboardInterrupt):
            send(first, signal.SIGINT)
        assert stop.signal == signal.Signals(first).name


def test_a_second_sigterm_changes_nothing():
    with stop_on_signals() as stop:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
    assert stop.signal == "SIGTERM"


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_on_signals():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_handlers_are_put_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), stop_on_signals():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) == before


def test_other_threads_leave_handlers_alone():
    before, found = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with stop_on_signals() as stop:
            found.append((bool(stop), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, before)]


def test_progress_that_can_be_stopped_leaves_at_the_next_report():
    heard = []
    stop = StopRequest()
    report = stoppable(lambda *words, **values: heard.append(words), stop, "{done} of {total} kept")
    report("calibrate", 1, 5)
    stop.ask(signal.SIGTERM, None)
    with pytest.raises(StoppedError, match="SIGTERM: 2 of 5 kept"):
        report("calibrate", 2, 5)
    assert heard == [("calibrate", 1, 5), ("calibrate", 2, 5)]


def test_a_hangup_that_is_ignored_stays_so():
    """Under nohup, a run outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            send(signal.SIGHUP)
            assert not stop
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
