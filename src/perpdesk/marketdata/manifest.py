"""The manifest of a series: which parts belong to it, and what each must contain."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from perpdesk.domain.errors import DataRefused
from perpdesk.marketdata.series import RECORDED, SeriesKey

FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One Parquet file of a series.

    sha256: of the file. content_sha256: of the values alone, the same whatever wrote the file.
    gaps: holes inside the part (candles only).
    """

    path: str
    rows: int
    first_ts_ms: int
    last_ts_ms: int
    size_bytes: int
    sha256: str
    content_sha256: str
    gaps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Parts in ascending order of time; gaps counts the holes of the whole series."""

    series: str
    source: str
    gaps: int
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Return the number of rows of all parts."""
        return sum(part.rows for part in self.parts)

    def content_hash(self) -> str:
        """Return a hash of what the series says, independent of when and by what it was written."""
        digest = hashlib.sha256(self.series.encode())
        for part in self.parts:
            digest.update(f"|{part.path}|{part.rows}|{part.content_sha256}".encode())
        return digest.hexdigest()

    def to_json(self) -> bytes:
        """Return the manifest as readable JSON with a stable order of fields."""
        document = {
            "format": FORMAT,
            "series": self.series,
            "source": self.source,
            "gaps": self.gaps,
            "parts": [asdict(part) for part in self.parts],
        }
        return (json.dumps(document, indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, *, path: Path, key: SeriesKey) -> Self:
        """Read a manifest; raises DataRefused where it is damaged or belongs to another series."""
        try:
            document: Mapping[str, Any] = json.loads(data)
            if document["format"] != FORMAT or document["series"] != str(key):
                raise ValueError(f"it describes {document['series']!r}")
            return cls(
                series=document["series"],
                source=document.get("source", RECORDED),
                gaps=document["gaps"],
                parts=tuple(Part(**part) for part in document["parts"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataRefused(
                f"{path}: the manifest of {key} cannot be read ({error})",
                next_step=f"Delete the folder {path.parent} and import the data again.",
            ) from error
