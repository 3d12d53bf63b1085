"""The small archive, for every test of this room."""

from tests.small_archive import bucket, small_index

__all__ = ["bucket", "small_index"]
