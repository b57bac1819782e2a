"""What a peer may ask of us: no message without an end, no word that takes for ever, no more than memory bears."""

from __future__ import annotations

import contextlib
import socket
import time
from functools import partial
from typing import Any

PDU = 256 * 1024  # bytes that we take at once
LARGEST = 2 * 2**30  # bytes of one instance
MOST_ANSWERS = 100_000  # of one query


def guard(event: Any) -> None:
    """Bound what comes on a new connection (EVT_CONN_OPEN), and send small messages at once.

    Without TCP_NODELAY each C-STORE waits about 40 ms for a delayed acknowledgement.
    """
    connection = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.taken = 0
    connection.recv = partial(_receive, connection, event.assoc.network_timeout)


def message_ended(event: Any) -> None:
    """Count the next message from nothing (EVT_DIMSE_RECV)."""
    event.assoc.dul.socket.taken = 0


def _receive(connection: Any, seconds: float | None, count: int) -> bytearray:
    """Read ``count`` bytes as pynetdicom's own does, but not more than was agreed, and not for ever."""
    connection.taken += count
    data, deadline = bytearray(), time.monotonic() + (seconds or 60.0)
    try:
        if count > 2 * PDU or connection.taken > LARGEST:
            raise OSError("the peer sends more than was agreed")
        while len(data) < count:
            connection.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            if not (part := connection.socket.recv(count - len(data))):
                break
            data += part
    except OSError:
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
        raise
    connection.socket.settimeout(seconds)
    return data
