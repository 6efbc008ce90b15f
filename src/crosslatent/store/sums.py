"""A checksum over a whole Parquet file, kept inside it.

The checksums of its pages leave out their headers and the footer, and a bit that flips there can
change what is read without anybody noticing.
"""

from __future__ import annotations

import zlib
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

_KEY: Final = b"crosslatent.crc32"
_BLANK: Final = b"00000000"
_MARK: Final = _KEY + b"\x18\x08"
"""The key in the footer, and what Thrift's compact protocol puts before a value of eight bytes."""


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file, with checksums of its pages and of the whole."""
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(
        buffer, table.schema, compression="zstd", write_page_checksum=True
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_KEY.decode(): _BLANK.decode()})
    data = bytearray(memoryview(buffer.getvalue()))
    at = _place(data)
    assert at is not None
    data[at : at + len(_BLANK)] = f"{zlib.crc32(data):08x}".encode()
    return bytes(data)


def is_whole(data: bytes) -> bool:
    """Whether a file is as it was written; one without a checksum of the whole passes."""
    at = _place(data)
    if at is None:
        return True
    end = at + len(_BLANK)
    found = zlib.crc32(data[end:], zlib.crc32(_BLANK, zlib.crc32(data[:at])))
    return data[at:end] == f"{found:08x}".encode()


def _place(data: bytes | bytearray) -> int | None:
    """Where the checksum stands."""
    at = data.rfind(_MARK)
    return None if at < 0 else at + len(_MARK)
