"""What Ctrl-C and the signals of batch systems do to a run."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

INTERRUPTED = "interrupted; finished trials are kept, the same command goes on"
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
PATIENCE = 7.0  # seconds for a run to end after an interrupt


class Interrupts:
    """Ctrl-C, SIGTERM (batch systems end a job with it) and SIGUSR1 (they announce the end with it) end a run alike.

    A KeyboardInterrupt may get lost where others call back into Python, so that `asked` is looked at as well, and a run
    that has not ended after PATIENCE is cut off: whatever is in the store is whole.
    """

    def __init__(self) -> None:
        self.asked = False
        self._cut: threading.Timer | None = None
        self._is_guest = False
        self._before: dict[int, Any] = {}  # handlers of the program that a guest runs in

    def begin(self, is_guest: bool = False) -> None:
        """A run begins. One that is a guest in another program (a notebook) is never cut off, and gives the signals'
        handlers back at its end; in a thread beside the main one it cannot listen, and goes on to its end."""
        self.asked, self._is_guest = False, is_guest
        if is_guest and threading.current_thread() is not threading.main_thread():
            return
        self._before = {number: signal.getsignal(number) for number in SIGNALS} if is_guest else {}
        self.listen()

    def end(self) -> None:
        """The run has ended."""
        if self._cut:
            self._cut.cancel()
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def listen(self) -> None:
        """Put our handlers in place, again where others put theirs. A Ctrl-C that the shell has ignored stays so."""
        for number in SIGNALS:
            if number != signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        signal.alarm(0)  # a failure handler of Ray's may have set one that aborts
        if not self.asked and not self._is_guest:
            self._cut = threading.Timer(PATIENCE, self._cut_off)
            self._cut.daemon = True
            self._cut.start()
        self.asked = True
        raise KeyboardInterrupt

    @staticmethod
    def _cut_off() -> None:
        os.write(2, f"mtlbench: {INTERRUPTED}\n".encode())
        os._exit(130)


interrupts = Interrupts()
