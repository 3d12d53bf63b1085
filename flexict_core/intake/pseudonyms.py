"""Stable pseudonyms for patient IDs and UIDs: HMAC-SHA256 with a key that stays with its owner.

With the key, and only with it, the same ID gives the same pseudonym again, so that a clinical table can be
brought in line. Who has the key and a list of IDs can find out whose pseudonym one is: guard it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path
from warnings import warn

from flexict_core.errors import DataWarning, InputError

_PREFIX = "psn-"
_DIGITS = 20  # 80 bits: no two of a million IDs collide
_FORM = re.compile(rf"{_PREFIX}[0-9a-f]{{{_DIGITS}}}")
_UID = re.compile(r"\b[0-2](?:\.\d+){4,}\b")
_SHORTEST_KEY = 16  # bytes


class Pseudonyms:
    """Pseudonyms by one key (16 bytes or more)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Pseudonyms:
        """By the key in a file; where there is none, a new one is written, readable by its owner alone.

        Raises InputError for a file that holds no key.
        """
        path = Path(path)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls(_read(path))
        except OSError as error:
            raise InputError(
                f"key file {str(path)!r} cannot be written ({error.strerror}): give another"
            ) from None
        key = secrets.token_hex(32)
        with os.fdopen(handle, "w") as stream:
            stream.write(key + "\n")
        return cls(key.encode())

    def patient(self, patient_id: str) -> str:
        """The pseudonym of a patient ID; "" stays ""."""
        return self._of("patient", patient_id)

    def uid(self, uid: str) -> str:
        """The pseudonym of a series UID; "" stays ""."""
        return self._of("uid", uid)

    def in_text(self, text: str) -> str:
        """A sentence with every UID in it replaced."""
        return _UID.sub(lambda match: self.uid(match.group()), text)

    def _of(self, kind: str, value: str) -> str:
        if not value:
            return ""
        digest = hmac.new(self._key, f"{kind}\0{value}".encode("utf-8", "surrogateescape"), hashlib.sha256)
        return _PREFIX + digest.hexdigest()[:_DIGITS]


def without_uids(text: str) -> str:
    """A sentence with "(UID)" for every UID in it: for who has no key."""
    return _UID.sub("(UID)", text)


def is_pseudonym(text: str) -> bool:
    """Whether an ID or UID of a manifest is a pseudonym, which no DICOM file holds."""
    return _FORM.fullmatch(text) is not None


def _read(path: Path) -> bytes:
    try:
        key = path.read_bytes().strip()
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(f"key file {str(path)!r} cannot be read ({error.strerror}): give a file") from None
    if len(key) < _SHORTEST_KEY:
        raise InputError(
            f"key file {str(path)!r} holds {len(key)} bytes, too few for a key: name a file that does not exist, "
            f"and one is made"
        )
    if os.name == "posix" and mode & 0o077:
        warn(f"key file {path} can be read by others: chmod 600 {path}", DataWarning, stacklevel=3)
    return key
