"""What Ctrl-C and the signals of batch systems do to a run."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

INTERRUPTED = "interrupted; finished trials are kept, the same command goes on"
PATIENCE = 7.0  # seconds for a run to end after an interrupt


class Interrupts:
    """Ctrl-C, SIGTERM (batch systems end a job with it) and SIGUSR1 (they announce the end with it) end a run alike.

    A KeyboardInterrupt may get lost where others call back into Python, so that `asked` is looked at as well, and a run
    that has not ended after PATIENCE is cut off: whatever is in the store is whole.
    """

    def __init__(self) -> None:
        self.asked = False
        self._cut: threading.Timer | None = None

    def begin(self) -> None:
        """A run begins."""
        self.asked = False
        self.listen()

    def end(self) -> None:
        """The run has ended."""
        if self._cut:
            self._cut.cancel()

    def listen(self) -> None:
        """Put our handlers in place, again where others put theirs. A Ctrl-C that the shell has ignored stays so."""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            if number != signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        signal.alarm(0)  # a failure handler of Ray's may have set one that aborts
        if not self.asked:
            self.asked = True
            self._cut = threading.Timer(PATIENCE, self._cut_off)
            self._cut.daemon = True
            self._cut.start()
        raise KeyboardInterrupt

    @staticmethod
    def _cut_off() -> None:
        os.write(2, f"mtlbench: {INTERRUPTED}\n".encode())
        os._exit(130)


interrupts = Interrupts()
