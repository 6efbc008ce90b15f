"""A checksum over a whole file (Parquet or safetensors), kept inside it.

The checksums of its pages leave out their headers and the footer, and a bit that flips there can
change what is read without anybody noticing.
"""

from __future__ import annotations

import zlib
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

KEY: Final = b"crosslatent.crc32"
BLANK: Final = b"00000000"
PARQUET: Final = KEY + b"\x18\x08"
"""The key in the footer, and what Thrift's compact protocol puts before a value of eight bytes."""
SAFETENSORS: Final = b'"' + KEY + b'":"'
"""The key in the header of a file of safetensors."""


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file, with checksums of its pages and of the whole."""
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(
        buffer, table.schema, compression="zstd", write_page_checksum=True
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({KEY.decode(): BLANK.decode()})
    return sealed(memoryview(buffer.getvalue()), PARQUET)


def sealed(blank: bytes | memoryview, mark: bytes) -> bytes:
    """A file with its checksum filled in.

    Args:
        blank: the file, with `BLANK` where the checksum belongs.
        mark: the bytes that precede it.
    """
    data = bytearray(blank)
    at = _place(data, mark)
    assert at is not None
    data[at : at + len(BLANK)] = f"{zlib.crc32(data):08x}".encode()
    return bytes(data)


def is_whole(data: bytes, mark: bytes = PARQUET) -> bool:
    """Whether a file is as it was written; one without a checksum of the whole passes."""
    at = _place(data, mark)
    if at is None:
        return True
    end = at + len(BLANK)
    found = zlib.crc32(data[end:], zlib.crc32(BLANK, zlib.crc32(data[:at])))
    return data[at:end] == f"{found:08x}".encode()


def _place(data: bytes | bytearray, mark: bytes) -> int | None:
    """Offset of the checksum; None where there is none."""
    at = data.rfind(mark)
    return None if at < 0 else at + len(mark)
