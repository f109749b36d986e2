import os
import signal
import threading

import pytest

from cellbench.engine.interrupts import deferred_interrupt


def test_the_first_ctrl_c_is_a_request_and_the_second_stops():
    with deferred_interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_handler_before_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="inside"), deferred_interrupt():
        raise ValueError("inside")
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_nothing_is_installed():
    seen = []

    def body():
        with deferred_interrupt() as interrupt:
            seen.append(interrupt.asked)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [False]
