"""Which archive to open: Orthanc, one that runs already, or the embedded one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

from ..errors import ArchiveError
from . import dicomweb, embedded, orthanc, remote
from .archive import AE_TITLE, CALLER, Archive
from .server import Wish
from .tls import Tls


def open_archive(
    kind: str = "auto",
    *,
    caller: str = CALLER,
    folder: str | Path | None = None,
    ae_title: str = AE_TITLE,
    peers: Mapping[str, tuple[str, int]] | None = None,
    dicom_port: int = 0,
    stable_age: int = 2,
    timeout: float = 30.0,
    tls: Tls = False,
) -> Archive:
    """Start an archive on this machine, or reach one that runs, here or elsewhere.

    One that is started answers this machine alone, with a random password, takes DICOM associations from AE titles that
    it knows, and ends with the process that started it, even if that is killed. (Orthanc's ports listen on every
    interface: others can open a connection, and are refused.)

    Parameters
    ----------
    kind
        ``"orthanc"``; ``"embedded"``, an archive in pure Python that speaks DIMSE only; or ``"auto"``: what the
        environment variable ``RADKIT_ARCHIVE`` says, else Orthanc where it can be had, else the embedded one. Or the
        address of one that runs: ``"dicom://AETITLE@host:port"`` of any DICOM peer, or ``"http://host:port/path"`` of
        Orthanc or of any DICOMweb service; user and password stand in it, or in ``ORTHANC_USER`` and
        ``ORTHANC_PASSWORD``. Where ``ORTHANC_URL`` names a running Orthanc, it is that, unless a ``folder`` is given.
    caller
        The AE title that we call a DICOM peer with.
    folder
        Where the archive keeps what it is sent, for the next time. Without it the archive begins empty, in a new folder
        under ``.radkit/archive``, which is gone when it stops: a notebook run twice finds the same both times, and two
        notebooks at once do not meet.
    ae_title
        What the archive calls itself.
    peers
        Who else may talk DICOM to it: by AE title, the host and port where it listens itself. We call as ``RADKIT``.
    dicom_port
        The port to use, where another program must know it; 0 finds a free one. With a DICOM peer, it is where we
        listen to what that sends by C-MOVE, or reports by storage commitment: it must know us by that port.
    stable_age
        Seconds without a new instance after which a study is stable.
    timeout
        Seconds that any single answer of the archive may take.
    tls
        True: DICOM and HTTP by TLS, with a certificate made for it (``archive.certificate``). For an archive that
        runs already: the file of the certificates to believe in, or three: those, our own certificate, its key.

    Raises
    ------
    ArchiveUnavailable
        If no archive can be started or reached; the message says what to do.
    """
    for title in (ae_title, caller, *(peers or {})):
        if not 0 < len(title.strip()) <= 16 or "\\" in title or not title.isprintable() or not title.isascii():
            raise ArchiveError(
                f"An AE title has 1 to 16 plain characters and no backslash (PS3.5, 6.2); got {title!r}."
            )
    if kind == "auto":
        kind = os.environ.get("RADKIT_ARCHIVE", "auto")
    if kind.startswith("dicom://"):
        return remote.call(kind, caller=caller, port=dicom_port, stable_age=stable_age, timeout=timeout, tls=tls)
    if kind.startswith(("http://", "https://")):
        try:  # Orthanc's own REST interface is quicker
            return orthanc.connect(kind, timeout=timeout, tls=tls)
        except orthanc.NotOrthanc:
            return dicomweb.DicomwebArchive(*dicomweb.reach(kind, tls), timeout=timeout, stable_age=stable_age)
    if kind not in ("auto", "orthanc", "embedded"):
        raise ArchiveError(f"Expected 'auto', 'orthanc', 'embedded' or an address, got {kind!r}.")
    url = os.environ.get("ORTHANC_URL")
    if url and folder is None and kind != "embedded":
        return orthanc.connect(url, timeout=timeout, tls=tls)
    known = {CALLER: ("127.0.0.1", 104), AE_TITLE: ("127.0.0.1", 104), **(peers or {})}
    wish = Wish(folder, ae_title, known, dicom_port, stable_age, timeout, bool(tls))
    if kind != "embedded":
        try:
            return orthanc.start(orthanc.installed(), wish)
        except orthanc.NotInstalled as error:
            if kind == "orthanc":
                raise
            warnings.warn(f"{error} Until then an embedded archive serves, which speaks DIMSE only.", stacklevel=2)
    return embedded.start(wish)
