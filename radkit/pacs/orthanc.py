"""Orthanc behind the archive's interface: by its own REST interface for the bytes, by DICOMweb for the questions."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests

from ..errors import ArchiveUnavailable
from . import dimse, receiving
from .archive import CALLER
from .dicomweb import DicomwebArchive, reach, reason, signed_in
from .instances import Instance, Refusal
from .server import READY_S, Home, Password, Server, Wish, launch, make_home
from .tls import Tls, front, own_files

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


def _configuration(plugin: Path, wish: Wish, home: Home, ports: tuple[int, ...], password: str) -> dict[str, Any]:
    """Return what Orthanc is to read at its start."""
    config: dict[str, Any] = {
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
        "DicomAet": wish.ae_title,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomCheckModalityHost": True,
        "DicomModalities": {title: [title, *where] for title, where in wish.peers.items()},
        "UnknownSopClassAccepted": True,  # from known peers: newer classes than this Orthanc
        "StableAge": wish.stable_age,
        "OverwriteInstances": False,  # an archive does not change what it holds
        "SaveJobs": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Ssl": wish.tls},  # Ssl: in the addresses that it tells
    }
    if wish.tls:
        public, key = map(str, own_files(home))
        config |= {"DicomTlsEnabled": True, "DicomTlsCertificate": public, "DicomTlsPrivateKey": key}
        # Who calls is told by AE title and address, as without TLS.
        config |= {"DicomTlsRemoteCertificateRequired": False, "DicomTlsTrustedCertificates": public}
    return config


def start(programs: tuple[Path, Path], wish: Wish) -> OrthancArchive:
    """Start Orthanc as an unprivileged child on loopback; see :func:`radkit.pacs.open_archive`."""
    password = Password(secrets.token_urlsafe(24))
    session = signed_in("radkit", password)
    session.trust_env = False  # loopback never goes through a proxy
    program, plugin = programs

    def begin(ports: tuple[int, ...]) -> Server:
        home = make_home(wish.folder, "orthanc")
        secret = home.secret(_configuration(plugin, wish, home, ports, password))
        # Without TCP_NODELAY, DCMTK waits 40 ms for a delayed acknowledgement at every C-STORE.
        env = {"PATH": os.defpath, "LANG": "C.UTF-8", "TCP_NODELAY": "1"}
        return Server([str(program), str(secret)], home, env, secret=secret)

    def ready(server: Server) -> bool:
        try:
            return session.get(f"http://127.0.0.1:{server.ports[0]}/system", timeout=READY_S).ok
        except OSError:  # a RequestException is one too
            return False

    server = launch(begin, ready, ports=(0, wish.dicom_port), timeout=wish.timeout)
    url, end, certificate = f"http://127.0.0.1:{server.ports[0]}", None, None
    if wish.tls:
        port, end = front(server.home, server.ports[0])
        url, certificate = f"https://127.0.0.1:{port}", server.home.certificate
        session.verify = str(certificate)
    try:
        archive = OrthancArchive(url, session, timeout=wish.timeout)
    except BaseException:
        server.stop()
        if end:
            end()
        raise
    archive.server, archive.certificate, archive._end = server, certificate, end
    return archive


def connect(url: str, *, timeout: float, tls: Tls = False) -> OrthancArchive:
    """Reach a running Orthanc at ``url``; see :func:`radkit.pacs.open_archive`."""
    return OrthancArchive(*reach(url, tls), timeout=timeout)


class _Told(dict[str, Any]):
    """An object that an archive answered; what it lacks, an Orthanc would have told."""

    def __missing__(self, key: str) -> Any:
        raise ArchiveUnavailable(f"Expected an answer of Orthanc with {key}, got one without.")


class OrthancArchive(DicomwebArchive):
    """Orthanc, started here or running elsewhere."""

    kind, name = "orthanc", "Orthanc"
    speaks = ("DICOMweb", "DIMSE")
    _root = "/dicom-web"
    _peer: dimse.Peer
    _end: Callable[[], object] | None = None

    def _greet(self) -> None:
        system = self._rest("GET", "/system")
        self.ae_title, self.dicom_port = system["DicomAet"], system["DicomPort"]
        self._peer = dimse.Peer(self.ae_title, self.host, system["DicomPort"], CALLER, self.timeout)

    def close(self) -> None:
        """Stop Orthanc, if it was started here."""
        if self._end:
            self._end()
        super().close()

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Ask Orthanc's REST interface; what it answers, even a refusal, is the caller's to judge."""
        answer = self._ask(self.session.request, method, self.url + path, **{"timeout": self.timeout, **options})
        if answer.status_code in (401, 403):
            raise self._locked_out(answer)
        return answer

    def _rest(self, method: str, path: str, *, expect: type = dict, **options: Any) -> Any:
        answer = self._request(method, path, **options)
        try:
            if answer.ok and isinstance(told := answer.json(object_hook=_Told), expect):
                return told
        except ValueError:
            pass
        raise NotOrthanc(f"Expected Orthanc at {self.url}, got for {path}: {reason(answer)}.")

    def _store(self, items: list[Instance], tick: Callable[[], object]) -> dict[str, str]:
        # Orthanc would take an instance that it holds a second time, if it came in another study.
        held = self._locate({"SOPInstanceUID": "\\".join(item.uid for item in items)})
        same = [{"StudyInstanceUID": item.study, "SOPInstanceUID": item.uid} for item in items if item.uid in held]
        just_sent = {uid for query in same for uid in self._locate(query)}  # by somebody else, since we asked
        why = Refusal("the archive holds that SOPInstanceUID in another study")
        refused = dict.fromkeys(held.keys() - just_sent, why)
        return {**refused, **super()._store([item for item in items if item.uid not in held], tick)}

    def _put(self, item: Instance) -> str:
        answer = self._request("POST", "/instances", data=item.encoded())
        return "" if answer.ok else reason(answer)

    def _take(self, way: Any) -> bytes | str:
        answer = self._request("GET", f"/instances/{way}/file")
        return answer.content if answer.ok else ""

    def _locate(self, query: Mapping[str, str]) -> dict[str, Any]:
        return {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in self._look_up("Instance", query)}

    def _look_up(self, level: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        order = {"Level": level, "Query": dict(query), "Expand": True}
        return self._rest("POST", "/tools/find", expect=list, json=order)

    def _state(self, study: str) -> tuple[int, bool]:
        studies = self._look_up("Study", {"StudyInstanceUID": study})  # more than one where Patient IDs differ
        counts = [self._rest("GET", f"/studies/{one['ID']}/statistics")["CountInstances"] for one in studies]
        return sum(map(int, counts)), bool(studies) and all(one["IsStable"] for one in studies)

    def _commit(self, classes: Mapping[str, str]) -> dict[str, Any]:
        us = replace(self._peer, caller=f"RK{secrets.token_hex(6)}".upper())
        path = f"/modalities/{us.caller}"  # whom Orthanc knows for as long as this takes

        def announce(where: tuple[str, int]) -> None:
            self._request("PUT", path, json={"AET": us.caller, "Host": where[0], "Port": where[1]})

        try:
            return receiving.commit(us, classes, announce=announce)
        finally:
            self._request("DELETE", path)
