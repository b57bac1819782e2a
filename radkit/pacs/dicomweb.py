"""Any DICOMweb service as an archive (PS3.18): QIDO-RS to ask, STOW-RS to send, WADO-RS to fetch."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any
from urllib.parse import quote_plus, unquote, urlsplit, urlunsplit

import requests
from pydicom import Dataset, dcmread, dcmwrite

from .._optional import optional
from ..errors import ArchiveError, ArchiveUnavailable
from . import dimse
from .archive import Archive, Keep, Level
from .instances import Instance, Refusal
from .matching import matches
from .server import Password
from .session import BoundedSession, TooMuch
from .tls import Tls, context

_THREADS = 4  # more do not make loopback quicker


def signed_in(user: str, password: str) -> requests.Session:
    """Return a session with bounds, which asks for nothing compressed: gzip costs more than it saves."""
    session = BoundedSession()
    session.auth = (user, password) if user else None
    session.headers["Accept-Encoding"] = "identity"
    return session


def reach(url: str, tls: Tls = False) -> tuple[str, requests.Session]:
    """Return ``url`` without user and password, and a session that has them, or those of the environment."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ArchiveUnavailable("Expected ORTHANC_URL like http://127.0.0.1:8042, with http or https and a host.")
    session = signed_in(
        unquote(parts.username or "") or os.environ.get("ORTHANC_USER", ""),
        Password(unquote(parts.password or "") or os.environ.get("ORTHANC_PASSWORD", "")),
    )
    context(tls)  # says what is wrong with the files
    if tls and tls is not True:
        session.trust_env = False  # or REQUESTS_CA_BUNDLE would be believed instead
        session.verify, *own = map(str, tls if isinstance(tls, tuple) else (tls,))
        session.cert = (own[0], own[1]) if own else None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", "")), session


class DicomwebArchive(Archive):
    """A DICOMweb service. ``session`` is the ``requests.Session`` that may talk to it."""

    kind, name = "dicomweb", "The DICOMweb service"
    speaks: tuple[str, ...] = ("DICOMweb",)
    url = ""
    _root = ""  # of its DICOMweb, after the address

    def __init__(self, url: str, session: requests.Session, *, timeout: float, stable_age: float = 2):
        self.url, self.session, self.timeout, self.stable_age = url, session, timeout, stable_age
        self.host = urlsplit(url).hostname or ""
        self.dicomweb = optional("dicomweb_client").DICOMwebClient(url + self._root, session=session, timeout=timeout)
        self.dicomweb.host = urlsplit(url).netloc  # else it loses the port, and bulk data time out
        self.dicomweb.set_http_retry_params(retry=False)  # else a dead server is asked for half a minute
        try:
            self._greet()
        except ArchiveError:
            self.close()
            raise

    def _greet(self) -> None:
        """Find out whether anybody is there."""
        self._find("study", {"StudyInstanceUID": "1.2.840.10008.1.1"})

    def close(self) -> None:
        """Stop the archive, if it was started here."""
        self.session.close()
        super().close()

    def _lost(self, error: Exception) -> str:
        if isinstance(error, TooMuch):
            return f"What {self.name} at {self.url} sends is refused: {error}"
        if isinstance(error, requests.exceptions.SSLError):
            return f"{self.url} does not show the certificate that is expected (tls=)"
        if isinstance(error, requests.Timeout):
            return f"{self.name} did not answer within {self.timeout:g} s"
        if self.server and not self.server.alive(patience=0.5):
            return f"{self.name} has ended: it was killed, or the archive was closed"
        return f"{self.name} does not answer at {self.url}"

    def _ask(self, call: Callable[..., Any], *given: Any, **options: Any) -> Any:
        """Do what goes by HTTP, with no answer told in words; a refusal is the caller's to judge."""
        try:
            return call(*given, **options)
        except requests.HTTPError as error:
            if error.response.status_code in (401, 403):
                raise self._locked_out(error.response) from error
            raise
        except requests.RequestException as error:
            raise ArchiveUnavailable(f"{self._lost(error)}.") from error

    def _locked_out(self, answer: requests.Response) -> ArchiveUnavailable:
        return ArchiveUnavailable(
            f"{self.name} at {self.url} refuses the user name or password ({answer.status_code}): "
            "set ORTHANC_USER and ORTHANC_PASSWORD, or put them into the address."
        )

    def _each(self, do: Callable[[Any], Any], items: Collection[Any]) -> Iterator[tuple[Any, Any]]:
        """Do something with each by some threads; yield each with what came of it, or why nothing did.

        After one request without an answer the rest is not tried: it would only wait as long each.
        """
        lost = threading.Event()

        def attempt(item: Any) -> Any:
            try:
                return "it was not tried after another had failed" if lost.is_set() else do(item)
            except (ArchiveUnavailable, OSError) as error:
                lost.set()
                return str(error).rstrip(".")

        with ThreadPoolExecutor(_THREADS) as pool:
            yield from zip(items, pool.map(attempt, items), strict=True)

    def _store(self, items: list[Instance], tick: Callable[[], object]) -> dict[str, str]:
        failed: dict[str, str] = {}
        for item, reason in self._each(self._put, items):
            if reason:
                failed[item.uid] = reason
            else:
                tick()
        return failed

    def _put(self, item: Instance) -> str:
        """Store one instance; return why it was not taken, or nothing."""
        try:
            told = self._ask(self.dicomweb.store_instances, [dcmread(BytesIO(item.encoded()))])
        except requests.HTTPError as error:
            return reason(error.response)
        failed = told.get("FailedSOPSequence")  # PS3.18, annex I.2
        return Refusal(f"the service answered 0x{failed[0].get('FailureReason', 0):04X}") if failed else ""

    def _find(self, level: Level, query: Mapping[str, str]) -> list[Dataset]:
        web = self.dicomweb
        search = {
            "study": web.search_for_studies,
            "series": web.search_for_series,
            "instance": web.search_for_instances,
        }
        # Orthanc 1.10 does not decode what a URL has to encode (* ? ^): such a key is asked for, and matched here.
        filters = {key: value for key, value in query.items() if value and quote_plus(value) == value}
        rest = {key: value for key, value in query.items() if key not in filters}
        try:
            told = self._ask(search[level], search_filters=filters, fields=list(rest))
            found = [Dataset.from_json(one) for one in told]
        except requests.HTTPError as error:
            raise ArchiveError(f"{self.name} refused the query: {reason(error.response)}.") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise ArchiveUnavailable(f"{self.url} answers a query with what is no DICOMweb.") from error
        found = [one for one in found if all(matches(key, one) for key in dimse.identifier(rest))]
        return dimse.named(level, found)

    def _locate(self, query: Mapping[str, str]) -> dict[str, Any]:
        levels = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        found = self._find("instance", query)
        return {str(one.SOPInstanceUID): [str(one[key].value) for key in levels] for one in found}

    def _retrieve(self, located: dict[str, Any], keep: Keep) -> str:
        stopped = ""
        for uid, told in self._each(lambda uid: self._take(located[uid]), located):
            if isinstance(told, bytes):
                keep(uid, told)
            else:
                stopped = stopped or told
        return stopped

    def _take(self, way: Any) -> bytes | str:
        """Get the file of one instance, as ``_locate`` found it; "" where it is gone."""
        buffer = BytesIO()
        try:
            dcmwrite(buffer, self._ask(self.dicomweb.retrieve_instance, *way), enforce_file_format=True)
        except requests.HTTPError:
            return ""
        return buffer.getvalue()


def reason(answer: requests.Response) -> str:
    """Put an answer that is no success into words, which Orthanc has in JSON: a Refusal, or worth another try."""
    try:
        told = answer.json()
        words = told.get("Details") or told.get("Message")
    except (ValueError, AttributeError):
        words = None
    return (Refusal if answer.status_code < 500 else str)(f"{answer.status_code} {words or answer.reason}")
