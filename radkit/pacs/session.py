"""HTTP as a client that neither waits for ever nor takes more than its memory bears."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

import requests

from .limits import LARGEST

MOST_TOLD = 256 * 2**20  # bytes of an answer in JSON
SLOWEST = 2**17  # bytes a second: who is slower is held to have stopped


class TooMuch(requests.RequestException):
    """An answer was longer than anything that was asked for."""


class BoundedSession(requests.Session):
    """A session whose every answer ends, in time and in size.

    ``timeout`` bounds the answer as a whole, plus what its bytes need at the slowest rate allowed: requests by itself
    bounds only the wait for the next byte, so that a peer can hold it for ever, a byte at a time.
    """

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send ``request`` and read its answer to the end, or give up."""
        told: Future[requests.Response] = Future()
        moved = [len(request.body or b"")]
        deadline = time.monotonic() + (options.get("timeout") or 60.0)
        call = partial(super().send, request, **{**options, "stream": True})
        threading.Thread(target=_read, args=(call, moved, told), daemon=True).start()
        while (left := deadline + moved[0] / SLOWEST - time.monotonic()) > 0:
            if wait([told], left).done:
                return told.result()
        raise requests.ReadTimeout(f"No whole answer from {request.url} in time.")


def _read(call: Any, moved: list[int], told: Future[requests.Response]) -> None:
    try:
        answer, parts, size = call(), [], 0
        most = MOST_TOLD if "json" in answer.headers.get("Content-Type", "") else LARGEST
        for part in answer.iter_content(2**20):
            parts.append(part)
            moved[0] += len(part)
            if (size := size + len(part)) > most:
                answer.close()
                raise TooMuch(f"the answer is longer than {most // 2**20} MB")
        answer._content = b"".join(parts)
        told.set_result(answer)
    except Exception as error:
        told.set_exception(error)
