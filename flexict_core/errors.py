"""Exceptions and warnings that every layer shares.

Each message is one line that names the thing, its value and the remedy. Each class also derives from the
built-in that a caller would expect, so `except ValueError` keeps working.
"""

from __future__ import annotations

import unicodedata


class FlexictError(Exception):
    """Anything the user can put right; the command line turns it into one line and exit status 2.

    Messages quote file names and cells of tables: line ends and control characters in them (a terminal would obey
    some) become spaces.
    """

    def __init__(self, message: object = "", *more: object) -> None:
        super().__init__(one_line(str(message)), *more)


def one_line(text: str) -> str:
    """The text without line ends, control characters and marks that turn the direction of writing."""
    plain = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)
    return " ".join(plain.split()) if plain != text else text


class InputError(FlexictError, ValueError):
    """A value, table or option that cannot be used as given."""


class ImageError(InputError):
    """A CT volume that cannot be read or must not be embedded."""


class UnsupportedFormatError(ImageError):
    """An image format that this version does not read."""


class MaskError(ImageError):
    """A mask that is empty, unreadable or on another grid than its CT."""


class ManifestError(InputError):
    """A manifest, or one of its rows, that cannot be used."""


class CohortError(InputError):
    """A clinical table that cannot be joined or does not hold what is asked of it."""


class StoreError(FlexictError, ValueError):
    """An embedding store that is missing, damaged or does not hold what is asked of it."""


class ArchiveError(FlexictError, OSError):
    """A public archive that cannot be reached, or a download that could not be finished."""


class CheckpointError(FlexictError, ValueError):
    """A weights file that is missing, unsafe, truncated or made for another network."""


class EncoderError(InputError):
    """An encoder, recipe, pooling or device that cannot be combined as asked."""


class AnalysisError(FlexictError, ValueError):
    """An analysis that the data cannot support, refused by name."""


class FigureExportError(FlexictError, RuntimeError):
    """A figure file that could not be written; everything else was."""


class FlexictWarning(UserWarning):
    """Base of all warnings of this project."""


class DataWarning(FlexictWarning):
    """Rows or columns were left out, or a value was read under an assumption."""
