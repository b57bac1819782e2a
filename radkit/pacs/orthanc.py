"""Orthanc behind the archive's interface: by REST for the bytes, by DICOMweb for the questions."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, unquote, urlsplit, urlunsplit

import requests
from pydicom import Dataset

from .._optional import optional
from ..errors import ArchiveError, ArchiveUnavailable, TransferError
from . import dimse, receiving
from .archive import CALLER, Archive, Keep, Level
from .instances import Instance, Refusal
from .matching import matches
from .server import READY_S, Password, Server, launch, make_home
from .session import BoundedSession, TooMuch
from .tls import Tls, context, front, own_files

_THREADS = 4  # more do not make loopback quicker
_PLUGIN = "libOrthancDicomWeb.so"
_PLACES = [f"{root}/{folder}" for folder in ("share/orthanc/plugins", "lib/orthanc") for root in ("/usr", "/usr/local")]


class NotInstalled(ArchiveUnavailable):
    """Orthanc or its DICOMweb plug-in is not on this machine."""


class NotOrthanc(ArchiveUnavailable):
    """Something else than Orthanc answers."""


def installed() -> tuple[Path, Path]:
    """Return Orthanc's program and its DICOMweb plug-in; NotInstalled says how to install what is missing."""
    path = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]  # Debian keeps it where only root's PATH looks
    program = shutil.which("Orthanc", path=os.pathsep.join(path))
    plugin = next((file for place in _PLACES for file in sorted(Path(place).glob(f"{_PLUGIN}*"))), None)
    if program and plugin:
        return Path(program), plugin
    missing = "Orthanc's DICOMweb plug-in" if program else "Orthanc"
    raise NotInstalled(
        f"{missing} is not installed here; on Debian and Ubuntu: sudo apt-get install orthanc orthanc-dicomweb."
    )


def start(
    programs: tuple[Path, Path],
    *,
    folder: str | Path | None,
    ae_title: str,
    peers: Mapping[str, tuple[str, int]],
    http_port: int,
    dicom_port: int,
    stable_age: int,
    timeout: float,
    tls: bool = False,
) -> OrthancArchive:
    """Start Orthanc as an unprivileged child on loopback; see :func:`radkit.pacs.open_archive`."""
    password = Password(secrets.token_urlsafe(24))
    session = _session("radkit", password)
    session.trust_env = False  # loopback never goes through a proxy
    program, plugin = programs
    files: list[Path] = []  # of the certificate, and of its key

    def begin(ports: tuple[int, ...]) -> Server:
        home = make_home(folder, "orthanc")
        files[:] = own_files(home) if tls else ()
        config = {
            "Name": "radkit",
            "StorageDirectory": str(home.store),
            "IndexDirectory": str(home.store),
            "SyncStorageArea": home.keep,
            "Plugins": [str(plugin)],
            "HttpPort": ports[0],
            "HttpBindAddresses": ["127.0.0.1"],  # since 1.12.10; before, the next line guards it alone
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {"radkit": password},
            "HttpCompressionEnabled": False,  # pixels barely shrink, and gzip costs fifty times the transfer
            "DicomPort": ports[1],
            "DicomAet": ae_title,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False,
            "DicomCheckModalityHost": True,
            "DicomModalities": {title: [title, *where] for title, where in peers.items()},
            "UnknownSopClassAccepted": True,  # from known peers: newer classes than this Orthanc
            "StableAge": stable_age,
            "OverwriteInstances": False,  # an archive does not change what it holds
            "SaveJobs": False,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        if files:
            public, key = map(str, files)
            config["DicomWeb"] = {"Enable": True, "Root": "/dicom-web/", "Ssl": True}  # in the addresses that it tells
            config |= {"DicomTlsEnabled": True, "DicomTlsCertificate": public, "DicomTlsPrivateKey": key}
            # Who calls is told by AE title and address, as without TLS.
            config |= {"DicomTlsRemoteCertificateRequired": False, "DicomTlsTrustedCertificates": public}
        secret = home.secret(config)
        # Without TCP_NODELAY, DCMTK waits 40 ms for a delayed acknowledgement at every C-STORE.
        env = {"PATH": os.defpath, "LANG": "C.UTF-8", "TCP_NODELAY": "1"}
        return Server([str(program), str(secret)], home, env, secrets=(secret,))

    def ready(ports: tuple[int, ...]) -> bool:
        try:
            return session.get(f"http://127.0.0.1:{ports[0]}/system", timeout=READY_S).ok
        except OSError:  # a RequestException is one too
            return False

    def up(wanted: tuple[int, ...]) -> tuple[Server, tuple[int, ...]]:
        server, ports = launch(begin, ready, ports=wanted, timeout=timeout)
        server.forget_secrets()
        return server, ports

    server, ports = up((0 if tls else http_port, dicom_port))
    url, ends = f"http://127.0.0.1:{ports[0]}", None
    if tls:
        shown, ends = front((files[0], files[1]), http_port, ports[0])
        url, session.verify = f"https://127.0.0.1:{shown}", str(files[0])
    archive = OrthancArchive(url, session, timeout=timeout, server=server)
    archive.certificate, archive._again, archive._ends = (files[0] if files else None), lambda: up(ports)[0], ends
    return archive


def connect(
    url: str, *, timeout: float, tls: Tls = False, kind: Callable[..., OrthancArchive] | None = None
) -> OrthancArchive:
    """Reach a running Orthanc at ``url``; see :func:`radkit.pacs.open_archive`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ArchiveUnavailable("Expected ORTHANC_URL like http://127.0.0.1:8042, with http or https and a host.")
    user = unquote(parts.username or "") or os.environ.get("ORTHANC_USER", "")
    password = Password(unquote(parts.password or "") or os.environ.get("ORTHANC_PASSWORD", ""))
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    session = _session(user, password)
    context(tls)  # says what is wrong with the files
    if tls and tls is not True:
        session.trust_env = False  # or REQUESTS_CA_BUNDLE would be believed instead
        session.verify, *own = map(str, tls if isinstance(tls, tuple) else (tls,))
        session.cert = (own[0], own[1]) if own else None
    return (kind or OrthancArchive)(bare, session, timeout=timeout)


def _session(user: str, password: str) -> requests.Session:
    session = BoundedSession()
    session.auth = (user, password) if user else None
    session.headers["Accept-Encoding"] = "identity"
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=2 * _THREADS))
    return session


class _Told(dict[str, Any]):
    """An object that an archive answered; what it lacks, an Orthanc would have told."""

    def __missing__(self, key: str) -> Any:
        raise ArchiveUnavailable(f"Expected an answer of Orthanc with {key}, got one without.")


def client(url: str, session: requests.Session, timeout: float) -> Any:
    """Return the DICOMweb client of a service."""
    dicomweb = optional("dicomweb_client").DICOMwebClient(url, session=session, timeout=timeout)
    dicomweb.host = urlsplit(url).netloc  # else it loses the port, and bulk data time out
    dicomweb.set_http_retry_params(retry=False)  # else a dead server is asked for half a minute
    return dicomweb


class OrthancArchive(Archive):
    """Orthanc, started here or running elsewhere. ``session`` is the ``requests.Session`` that may talk to it."""

    kind = "orthanc"
    speaks: tuple[str, ...] = ("DICOMweb", "DIMSE")
    url: str
    _ends: Callable[[], object] | None = None

    def __init__(self, url: str, session: requests.Session, *, timeout: float, server: Server | None = None):
        self.url, self.session, self.timeout, self.server = url, session, timeout, server
        try:
            system = self._rest("GET", "/system")
            self.ae_title, self.dicom_port = system["DicomAet"], system["DicomPort"]
        except ArchiveUnavailable:
            self.close()
            raise
        self.host = urlsplit(url).hostname or ""
        self.dicomweb = client(f"{url}/dicom-web", session, timeout)

    def close(self) -> None:
        """Stop Orthanc, if it was started here."""
        self.session.close()
        if self._ends:
            self._ends()
        if self.server:
            self.server.stop()

    def _lost(self, error: Exception) -> str:
        if isinstance(error, TooMuch):
            return f"What Orthanc at {self.url} sends is refused: {error}"
        if isinstance(error, requests.exceptions.SSLError):
            return f"{self.url} does not show the certificate that is expected (tls=)"
        if isinstance(error, requests.Timeout):
            return f"Orthanc did not answer within {self.timeout:g} s"
        if self.server and not self.server.alive(patience=0.5):
            return "Orthanc has ended: it was killed, or the archive was closed"
        return f"Orthanc does not answer at {self.url}"

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Ask Orthanc's REST interface; what it answers, even a refusal, is the caller's to judge."""
        try:
            answer = self.session.request(method, self.url + path, timeout=self.timeout, **options)
        except requests.RequestException as error:
            raise ArchiveUnavailable(f"{self._lost(error)}.") from error
        if answer.status_code in (401, 403):
            raise ArchiveUnavailable(
                f"Orthanc at {self.url} refuses the user name or password ({answer.status_code}): "
                "set ORTHANC_USER and ORTHANC_PASSWORD."
            )
        return answer

    def _rest(self, method: str, path: str, *, expect: type = dict, **options: Any) -> Any:
        answer = self._request(method, path, **options)
        try:
            if answer.ok and isinstance(told := answer.json(object_hook=_Told), expect):
                return told
        except ValueError:
            pass
        raise NotOrthanc(f"Expected Orthanc at {self.url}, got for {path}: {_refusal(answer)}.")

    def _store(self, items: list[Instance], tick: Callable[[], object]) -> dict[str, str]:
        elsewhere = self._elsewhere(items)
        refusal = Refusal("the archive holds that SOPInstanceUID in another study")
        failed: dict[str, str] = dict.fromkeys(elsewhere, refusal)
        lost = threading.Event()  # after one request without an answer, the rest would only wait as long each

        def post(item: Instance) -> None:
            if lost.is_set():
                failed[item.uid] = "it was not tried after another had failed"
                return
            try:
                reason = self._put(item)
            except (ArchiveUnavailable, OSError) as error:
                reason = str(error).rstrip(".")
                lost.set()
            if reason:
                failed[item.uid] = reason
            else:
                tick()

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(post, [item for item in items if item.uid not in elsewhere]))
        return failed

    def _elsewhere(self, items: list[Instance]) -> Collection[str]:
        """Return which UIDs are held already: Orthanc would take them a second time, if they came in another study."""
        return self._locate({"SOPInstanceUID": "\\".join(item.uid for item in items)})

    def _put(self, item: Instance) -> str:
        """Store one instance; return why it was not taken, or nothing."""
        answer = self._request("POST", "/instances", data=item.encoded())
        return "" if answer.ok else Refusal(_refusal(answer)) if answer.status_code < 500 else _refusal(answer)

    def _take(self, way: Any) -> bytes | None:
        """Get the file of one instance, as ``_locate`` found it; nothing where it is gone."""
        answer = self._request("GET", f"/instances/{way}/file")
        return answer.content if answer.ok else None

    def _find(self, level: Level, query: Mapping[str, str]) -> list[Dataset]:
        search = {
            "study": self.dicomweb.search_for_studies,
            "series": self.dicomweb.search_for_series,
            "instance": self.dicomweb.search_for_instances,
        }[level]
        # Orthanc 1.10 does not decode what a URL has to encode (* ? ^): such a key is asked for, and matched here.
        filters = {key: value for key, value in query.items() if value and quote_plus(value) == value}
        try:
            found = [
                Dataset.from_json(one)
                for one in search(search_filters=filters, fields=[key for key in query if key not in filters])
            ]
        except requests.HTTPError as error:
            raise ArchiveError(f"Orthanc refused the query: {_refusal(error.response)}.") from error
        except requests.RequestException as error:
            raise ArchiveUnavailable(f"{self._lost(error)}.") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise ArchiveUnavailable(f"{self.url} answers a query with what is no DICOMweb.") from error
        rest = dimse.identifier({key: value for key, value in query.items() if key not in filters})
        return [one for one in found if all(matches(key, one) for key in rest)]

    def _locate(self, query: Mapping[str, str]) -> dict[str, Any]:
        return {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in self._look_up("Instance", query)}

    def _retrieve(self, located: dict[str, Any], keep: Keep) -> str:
        reasons: list[str] = []

        def get(uid: str) -> tuple[str, bytes | None]:
            try:
                return uid, None if reasons else self._take(located[uid])
            except ArchiveUnavailable as error:
                reasons.append(str(error).rstrip("."))
                return uid, None

        with ThreadPoolExecutor(_THREADS) as pool:
            for uid, data in pool.map(get, located):
                if data is not None:
                    keep(uid, data)
        return reasons[0] if reasons else ""

    def _look_up(self, level: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        return self._rest(
            "POST", "/tools/find", expect=list, json={"Level": level, "Query": dict(query), "Expand": True}
        )

    def _state(self, study: str) -> tuple[int, bool]:
        studies = self._look_up("Study", {"StudyInstanceUID": study})  # more than one where Patient IDs differ
        counts = [self._rest("GET", f"/studies/{one['ID']}/statistics")["CountInstances"] for one in studies]
        return sum(map(int, counts)), bool(studies) and all(one["IsStable"] for one in studies)

    def forward(self, study: str, to: Archive | tuple[str, str, int] | str, *, timeout: float = 60.0) -> int:
        """Let Orthanc send a study on by C-STORE, and watch its job to the end; see :meth:`Archive.forward`."""
        expected = self._locate({"StudyInstanceUID": study})
        if not expected:
            raise ArchiveError("The archive holds no study with that StudyInstanceUID.")
        if isinstance(to, str):
            return receiving.move(self._peer(), study, to, tuple(expected))
        ae_title, host, port = (to.ae_title, to.host, to.dicom_port) if isinstance(to, Archive) else to
        name = f"radkit-{secrets.token_hex(4)}"
        self._request("PUT", f"/modalities/{name}", json={"AET": ae_title, "Host": host, "Port": port})
        try:
            order = {"Resources": list(expected.values()), "Synchronous": False}
            job = self._rest("POST", f"/modalities/{name}/store", json=order)["ID"]
            reason = self._watch(job, len(expected), timeout)
        finally:
            self._request("DELETE", f"/modalities/{name}")
        # A job can call itself a success that sent nothing: where the peer can be asked, it is.
        there = to._locate({"StudyInstanceUID": study}) if isinstance(to, Archive) else ({} if reason else expected)
        missing = tuple(uid for uid in expected if uid not in there)
        if reason or missing:
            raise TransferError(
                f"{len(expected) - len(missing)} of {len(expected)} instances are known to have reached {ae_title}: "
                f"{reason or 'the job ended early'}. Does it know {self.ae_title}, and does it run?",
                missing=missing,
            )
        return len(expected)

    def _commit(self, classes: Mapping[str, str]) -> dict[str, Any]:
        name = f"RK{secrets.token_hex(6)}".upper()  # a caller whom Orthanc knows for as long as this takes

        def announce(address: tuple[str, int]) -> None:
            self._request("PUT", f"/modalities/{name}", json={"AET": name, "Host": address[0], "Port": address[1]})

        try:
            return receiving.commit(self._peer(name), classes, announce=announce)
        finally:
            self._request("DELETE", f"/modalities/{name}")

    def _peer(self, caller: str = CALLER) -> dimse.Peer:
        return dimse.Peer(self.ae_title, self.host, int(self.dicom_port or 0), caller, self.timeout)

    def _watch(self, job: str, count: int, timeout: float) -> str:
        """Wait for the end of a C-STORE job; return what went wrong, or nothing."""
        deadline = time.monotonic() + timeout
        while (state := self._rest("GET", f"/jobs/{job}"))["State"] in ("Pending", "Running", "Retry"):
            if time.monotonic() > deadline:
                self._request("POST", f"/jobs/{job}/cancel")
                return f"Orthanc had not sent it after {timeout:g} s"
            time.sleep(0.1)
        content = state["Content"]
        if state["State"] == "Success" and not content["FailedInstancesCount"] and content["InstancesCount"] == count:
            return ""
        return f"the job ended as {state['State']} ({state.get('ErrorDetails') or state['ErrorDescription']})"


def _refusal(answer: requests.Response) -> str:
    """Put an answer that is no success into words: Orthanc explains itself in JSON."""
    try:
        told = answer.json()
        words = told.get("Details") or told.get("Message")
    except (ValueError, AttributeError):
        words = None
    return f"{answer.status_code} {words or answer.reason}"
