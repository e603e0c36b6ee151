"""A line to a receiver that is slow, or whose cable is pulled: nothing arrives any more, and nobody is told."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

BUFFER = 16384  # octets that the line itself holds
SEGMENT = 1400  # octets; those of the loopback interface are larger than such a buffer


class Line:
    """Carries octets from an address to another one, at most ``rate`` a second each way, which may be changed.

    :meth:`cut` pulls the cable of all connections there are, and of those that come: they stay open, and nothing
    arrives.  ``carried`` counts the octets that went to the receiver.
    """

    def __init__(self, address: str, port: int, to: tuple[str, int], rate: float | None = None) -> None:
        self.carried = 0
        self._to = to
        self.rate = rate
        self._whole = threading.Event()
        self._whole.set()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)  # those that it accepts have it too
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        self._listener.bind((address, port))
        self._listener.listen(100)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        """What was on its way when the cable was pulled arrives now."""
        self._whole.set()

    def stop(self) -> None:
        self._listener.close()
        self._whole.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(self._to)
                for source, sink in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=(source, sink, sink is there), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, outward: bool) -> None:
        with contextlib.suppress(OSError):
            while octets := source.recv(1024 if self.rate else 65536):
                if self.rate:
                    time.sleep(len(octets) / self.rate)
                self._whole.wait()
                sink.sendall(octets)
                self.carried += len(octets) if outward else 0
        self._whole.wait()
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Blackhole:
    """An address that swallows attempts to connect: its queue is full, and nobody accepts."""

    def __init__(self, address: str, port: int) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._listener.listen(0)
        self._filling = []
        for _ in range(5):  # how many it takes is the system's choice
            each = socket.socket()
            each.settimeout(0.5)
            self._filling.append(each)
            try:
                each.connect((address, port))
            except TimeoutError:
                break
        else:
            raise AssertionError("the queue is never full")

    def stop(self) -> None:
        for each in (self._listener, *self._filling):
            each.close()
