"""Files of a published data set that is not shipped: read from a zip or a folder that the user names."""

import hashlib
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

from training.errors import TableError

VARIABLE = "CAROUSEL_DATA"


class Published(NamedTuple):
    """Files of a data set, the zip that contains them, and where to download it."""

    archive: str
    files: tuple[str, ...]
    origin: str

    def read(self, path: Path | None, folder: Path) -> dict[str, bytes]:
        """Return the content of each file from `path`, a zip or a folder, relative to `folder`.

        Without `path`, read the zip or the files in the folder that CAROUSEL_DATA names.

        Raises:
            TableError: a file is missing; the message says which, where to get it and how to name it.

        """
        place = self._default() if path is None else folder / path
        try:
            return {file: self._content(place, file) for file in self.files}
        except (OSError, KeyError):
            raise self._missing(f"it is not in {place.name}") from None
        except zipfile.BadZipFile as error:
            raise TableError(f"{place.name}: {error}; fetch it again") from None

    def _default(self) -> Path:
        kept = os.environ.get(VARIABLE)
        if not kept:
            raise self._missing("nothing says where it is")
        archive = Path(kept) / self.archive
        return archive if archive.exists() else Path(kept)

    def _content(self, place: Path, file: str) -> bytes:
        if place.is_dir():
            return (place / file).read_bytes()
        with zipfile.ZipFile(place) as archive:
            inside = {Path(name).name: name for name in archive.namelist()}
            return archive.read(inside[file])

    def _missing(self, problem: str) -> TableError:
        return TableError(
            f"{', '.join(self.files)}: {problem}; it is given out by {self.origin}. Name a zip or a folder that holds "
            f"it as data.path, or put {self.archive} (or what is in it) into the folder that {VARIABLE} names"
        )


def sha256(contents: dict[str, bytes]) -> str:
    """Return one hash of all files, independent of zip or folder."""
    return hashlib.sha256(b"".join(contents[file] for file in sorted(contents))).hexdigest()
