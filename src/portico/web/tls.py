"""What connections are encrypted with: read at start, and again when the files change."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ENCRYPTED = b"ENCRYPTED"


class TlsError(Exception):
    """Certificates cannot be used as they are; the message is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files in PEM; with `client_ca` clients must have a certificate of that authority."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.certificate, self.key, *([self.client_ca] if self.client_ca else ()))


@dataclass(frozen=True, slots=True)
class TlsContents:
    """What is in the files, for libraries that take it so."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class Tls:
    """The certificates of all ports.

    Attributes:
        context: for servers of HTTP; it stays the same when the files are read again.
        contents: of the files, as they were read last.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Reads the files.

        Raises:
            TlsError: one cannot be read, or they do not belong together.
        """
        self.files = files
        self.context = _RenewableContext(ssl.PROTOCOL_TLS_SERVER)
        self.reload()

    def reload(self) -> None:
        """Reads the files again, for connections from now on.

        Raises:
            TlsError: as at first; what was read before holds on.
        """
        contents = _read(self.files)
        self.context.current = _build_context(self.files)
        self.contents = contents


class _RenewableContext(ssl.SSLContext):
    """Hands every new connection to the context that is current: a listening server keeps the one that it was given."""

    current: ssl.SSLContext

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        return self.current.wrap_bio(*arguments, **named)


def _read(files: TlsFiles) -> TlsContents:
    try:
        contents = [path.read_bytes() for path in files.paths]
    except OSError as error:
        raise TlsError(f"cannot read {error.filename}: {error.strerror}") from error
    certificate, key, *authority = contents
    if _ENCRYPTED in key:
        raise TlsError(f"the key {files.key} is encrypted, and nobody is there to be asked for its password")
    return TlsContents(certificate, key, authority[0] if authority else None)


def _build_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.certificate, files.key)
    except OSError as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(f"{files.key} is not the key of the certificate {files.certificate}") from error
        raise TlsError(f"{files.certificate} and {files.key} are not a certificate and its key in PEM") from error
    if files.client_ca is None:
        return context
    try:
        context.load_verify_locations(files.client_ca)
    except OSError as error:
        raise TlsError(f"{files.client_ca} has no certificate in PEM") from error
    context.verify_mode = ssl.CERT_REQUIRED
    return context
