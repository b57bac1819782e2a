"""Find a pinned archive where pip would look for it, and bring it here, resuming where an earlier try broke off."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

import requests
from tqdm import tqdm

from radkit.errors import SourceUnreachable

from .sources import Source

_TIMEOUT = (10, 30)  # seconds to connect, and between two pieces of an answer


def bring(source: Source, part: Path, *, progress: bool = True) -> Path:
    """Return the archive of ``source``: in place if the index is a folder, else downloaded to ``part``.

    What an earlier try left in ``part`` is kept and completed (RFC 9110, section 14: range requests). The bytes are
    not checked here. A message of SourceUnreachable is without advice.
    """
    options = _pip_options()
    with requests.Session() as session:
        session.verify = options.cert or True
        if options.proxy:
            session.proxies = {"http": options.proxy, "https": options.proxy}
        url = _find(source, options, session)
        if url.startswith("file:"):
            return _local(url)
        if _size(part) > source.size:
            part.unlink()
        with tqdm(
            total=source.size, desc=source.archive, unit="B", unit_scale=True, unit_divisor=1024, disable=not progress
        ) as bar:
            while (had := _size(part)) < source.size:
                try:
                    _resume(session, url, part, had, bar)
                    break
                except requests.RequestException as error:
                    if _size(part) <= had:  # as long as every try brings more, the next one goes on
                        came = f"{_size(part):,} of {source.size:,} bytes of {source.archive} have come"
                        raise SourceUnreachable(f"{came}, then {_host(url)} {_why(error)}") from error
    return part


def _pip_options() -> Any:
    """Return what pip would use here: its index, further indexes, find-links, proxy, certificates.

    They come from its command line's defaults, its configuration files and ``PIP_…`` variables, as pip reads them.
    """
    try:
        from pip._internal.commands import create_command
    except ImportError as error:
        raise SourceUnreachable("pip, which knows the package index, is not installed here") from error
    return create_command("install").parse_args([])[0]


def _find(source: Source, options: Any, session: requests.Session) -> str:
    """Return the address of the pinned file: folders first, for they need no network."""
    project = re.sub(r"[-_.]+", "-", source.package).lower()  # PEP 503, normalized names
    indexes = [] if options.no_index else [options.index_url, *options.extra_index_urls]
    places = [*options.find_links, *(f"{index.rstrip('/')}/{project}/" for index in indexes)]
    silent = []
    for place in places:
        try:
            if url := _link(place, source.archive, session):
                return url
        except OSError as error:  # requests' errors are OSErrors too
            silent.append(f"{_host(place)} {_why(error)}")
    if silent:
        raise SourceUnreachable(f"{source.archive} cannot be had: {', '.join(silent)}")
    raise SourceUnreachable(f"{source.archive} is not on {', '.join(map(_host, places)) or 'any index that pip knows'}")


def _link(place: str, archive: str, session: requests.Session) -> str:
    """Return the address of an archive in a folder or on a page of the simple repository API (PEP 503), "" for none."""
    if "://" not in place:
        place = Path(place).expanduser().resolve().as_uri()
    if place.startswith("file:"):
        path = _local(place)
        if (path / archive).is_file():
            return (path / archive).as_uri()
        page = path / "index.html" if path.is_dir() else path
        text, base = (page.read_text(encoding="utf-8"), page.as_uri()) if page.is_file() else ("", place)
    else:
        response = session.get(place, headers={"Accept": "text/html"}, timeout=_TIMEOUT)
        if response.status_code == 404:
            return ""  # this index does not know the package
        response.raise_for_status()
        text, base = response.text, response.url
    for href in re.findall(r"""\bhref\s*=\s*["']?([^"'\s>]+)""", text, re.IGNORECASE):
        url = urljoin(base, unescape(href)).partition("#")[0]
        if unquote(urlsplit(url).path.rpartition("/")[2]) == archive:
            return url
    return ""


def _resume(session: requests.Session, url: str, part: Path, start: int, bar: tqdm) -> None:
    """Append to ``part`` what is missing from byte ``start`` on."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            start = 0  # this server sends the whole file or nothing
        bar.n = start
        with part.open("ab" if start else "wb") as file:
            for piece in answer.iter_content(1 << 16):
                file.write(piece)
                bar.update(len(piece))


def _local(url: str) -> Path:
    return Path(url2pathname(urlsplit(url).path))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _host(place: str) -> str:
    """Name a place without the password that its address may hold."""
    return urlsplit(place).hostname or place


def _why(error: OSError) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answered {error.response.status_code} {error.response.reason}"
    return "took too long" if isinstance(error, requests.Timeout) else "did not answer"
