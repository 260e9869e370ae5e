"""The API's certificate: read, judged, and read anew when its file changes.

Knows files and OpenSSL; knows no request.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography import x509

from farmd.driver import offload
from farmd.model.errors import ConfigError, ErrorCode

TLS_UNUSABLE = ErrorCode(
    "tls-unusable",
    "the API's certificate and key cannot be used",
    "give PEM files that belong together and farmd may read, the key without a password, in [api] tls_cert and tls_key",
)
SOON_S = 30 * 86400.0
"""So long before its end a certificate is told of."""
LOOK_S = 60.0
DAY_S = 86400.0

log = structlog.get_logger("api")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the two files are, to notice a change."""

    cert: tuple[int, int]
    key: tuple[int, int]


class Certificate:
    """A certificate with its key, and the TLS settings made of them.

    Raises `ConfigError(TLS_UNUSABLE)`. Times are real, UTC seconds.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert, self._key = cert, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._look()
        self.ends_at = self._load()

    def renew(self) -> bool:
        """Read the files again if they have changed; connections from now on get what they hold.

        Raises `ConfigError(TLS_UNUSABLE)` and leaves what there was.
        """
        seen = self._look()
        if seen == self._seen:
            return False
        # A pair that does not fit must not take the place of one that does.
        fresh = Certificate(self._cert, self._key)
        self.ends_at, self._seen = self._load(), fresh._seen
        return True

    def _look(self) -> _Seen:
        try:
            cert, key = self._cert.stat(), self._key.stat()
        except OSError as error:
            raise ConfigError(
                TLS_UNUSABLE, error.strerror or str(error), where=str(error.filename)
            ) from error
        return _Seen((cert.st_mtime_ns, cert.st_ino), (key.st_mtime_ns, key.st_ino))

    def _load(self) -> float:
        """When the certificate ends."""
        try:
            self.context.load_cert_chain(self._cert, self._key, password=_no_password)
        except _Encrypted as error:
            raise ConfigError(TLS_UNUSABLE, "the key wants a password", where=str(self._key)) from error
        except ssl.SSLError as error:
            what = "they are no PEM, or do not belong together"
            if error.reason:
                what = f"{what} ({error.reason.lower().replace('_', ' ')})"
            raise ConfigError(TLS_UNUSABLE, what, where=f"{self._cert}, {self._key}") from error
        except OSError as error:
            raise ConfigError(TLS_UNUSABLE, error.strerror or str(error), where=str(self._key)) from error
        try:
            return x509.load_pem_x509_certificates(self._cert.read_bytes())[0].not_valid_after_utc.timestamp()
        except (OSError, ValueError) as error:
            raise ConfigError(TLS_UNUSABLE, str(error), where=str(self._cert)) from error


class _Encrypted(Exception):
    """A key that cannot be read without a password."""


def _no_password() -> str:
    raise _Encrypted


async def keep_fresh(certificate: Certificate) -> None:
    """For ever: take a new certificate when there is one, and say once a day that one ends soon."""
    told_at, failed = 0.0, False
    while True:
        try:
            if await offload(certificate.renew):
                log.info("certificate read anew", ends_in_days=_days(certificate))
                told_at = 0.0
            failed = False
        except ConfigError as error:
            if not failed:
                log.error("new certificate not taken; the old one stays", why=error.told)
            failed = True
        if certificate.ends_at - time.time() < SOON_S and time.time() - told_at >= DAY_S:
            told_at = time.time()
            log.warning("certificate ends soon", ends_in_days=_days(certificate))
        await asyncio.sleep(LOOK_S)


def _days(certificate: Certificate) -> int:
    return int((certificate.ends_at - time.time()) // DAY_S)
