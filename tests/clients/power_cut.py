"""Takes back what a killed process had not synced: the other half of power_loss/unsynced.c."""

import os
import random
import shutil
import struct
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from pathlib import Path

SECTOR = 512


class Kind(IntEnum):
    WRITE = 1
    RESIZE = 2
    CREATE = 3
    MAKE_FOLDER = 4
    RENAME = 5
    UNLINK = 6
    REMOVE_FOLDER = 7
    SYNC = 8
    SYNC_FOLDER = 9
    RESULT = 10
    FOREIGN = 11


CONTENTS = {Kind.WRITE, Kind.RESIZE}
NAMES = {Kind.CREATE, Kind.MAKE_FOLDER, Kind.RENAME, Kind.UNLINK, Kind.REMOVE_FOLDER}


class Loss(Enum):
    """What of the un-synced is gone."""

    ALL = "all"
    # As a file system does that writes its own journal first: a file that was renamed into place
    # and not synced is there and empty.
    CONTENTS = "contents"
    # Any of the writes in any order, some torn between sectors; names in order of each folder.
    SOME = "some"


@dataclass
class Entry:
    kind: Kind
    number: int
    inode: int
    offset: int
    size: int
    path: str
    other: str
    old: bytes
    new: bytes
    # Bytes that were written; none: as many as were to be.
    done: int | None = None

    @property
    def happened(self) -> bool:
        return self.done != 0 or (self.kind == Kind.WRITE and not self.new)

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)


HEAD = struct.Struct("=9Q")


def read(journal: Path) -> list[Entry]:
    """The entries, oldest first. One that the kill has cut off did not come to happen."""
    data = journal.read_bytes()
    entries: list[Entry] = []
    at = 0
    while at + HEAD.size <= len(data):
        kind, number, inode, offset, size, *lengths = HEAD.unpack_from(data, at)
        at += HEAD.size
        old, new, path, other = lengths
        parts = []
        for length in (path, other, old, new):
            parts.append(data[at : at + length])
            at += length
        if at > len(data):
            break
        entry = Entry(Kind(kind), number, inode, offset, size, parts[0].decode(), parts[1].decode(), *parts[2:])
        assert number == len(entries) + 1, "the journal has a gap"
        if entry.kind == Kind.RESULT:
            entries[offset - 1].done = size
        entries.append(entry)
    return entries


@dataclass
class Cut:
    """What became of a loss of power."""

    writes: int = 0
    syncs: int = 0
    lost_contents: int = 0
    lost_names: int = 0
    kept: int = 0
    # Files of which something was not synced, by the names that they had.
    files: list[str] = field(default_factory=list)


def cut(state: Path, journal: Path, loss: Loss, chance: random.Random) -> Cut:
    """Makes the folder what it could be after a loss of power at the moment of the kill."""
    entries = read(journal / "journal")
    held = journal / "held"
    if foreign := {entry.path for entry in entries if entry.kind == Kind.FOREIGN}:
        raise AssertionError(f"changes were made that cannot be taken back: {foreign}")

    files: dict[int, int] = {}
    folders: dict[str, int] = {}
    for entry in entries:
        if entry.kind == Kind.SYNC:
            files[entry.inode] = max(files.get(entry.inode, 0), entry.offset)
        elif entry.kind == Kind.SYNC_FOLDER:
            folders[entry.path] = max(folders.get(entry.path, 0), entry.offset)
    happened = [entry for entry in entries if entry.happened]
    contents = [e for e in happened if e.kind in CONTENTS and e.number >= files.get(e.inode, 0)]
    names = [e for e in happened if e.kind in NAMES and e.number >= folders.get(e.folder, 0)]
    for entry in happened:
        assert entry.kind != Kind.RENAME or os.path.dirname(entry.other) == entry.folder, (
            f"{entry.path} was renamed into another folder"
        )

    if loss == Loss.CONTENTS:
        names = []
    elif loss == Loss.SOME:
        # A folder's changes reach the disk in their order.
        pending: dict[str, list[Entry]] = {}
        for entry in names:
            pending.setdefault(entry.folder, []).append(entry)
        names = [e for group in pending.values() for e in group[chance.randint(0, len(group)) :]]
        names.sort(key=lambda entry: entry.number)
    share = chance.random()
    kept = [e for e in contents if loss == Loss.SOME and chance.random() < share]

    inodes = {entry.inode for entry in contents}
    named = {path.stat().st_ino: str(path.relative_to(state)) for path in state.rglob("*")}

    # The last entry may not have happened, or not wholly.
    last = entries[-1].number if entries else 0
    for entry in reversed(contents):
        undo(held, entry, check=entry.number != last)
    for entry in kept:
        redo(held, entry, chance)
    for entry in reversed(names):
        undo_name(state, held, entry)
    for path in state.rglob("*-shm"):
        path.unlink()
    return Cut(
        writes=sum(entry.kind in CONTENTS for entry in happened),
        syncs=sum(entry.kind in (Kind.SYNC, Kind.SYNC_FOLDER) for entry in entries),
        lost_contents=len(contents) - len(kept),
        lost_names=len(names),
        kept=len(kept),
        files=sorted(named.get(inode, "(unlinked)") for inode in inodes),
    )


def undo(held: Path, entry: Entry, check: bool) -> None:
    with open(held / str(entry.inode), "r+b") as file:
        if check:
            # A change that went past the library would show here.
            size = os.fstat(file.fileno()).st_size
            if entry.kind == Kind.WRITE:
                new = entry.new if entry.done is None else entry.new[: entry.done]
                file.seek(entry.offset)
                assert file.read(len(new)) == new, f"entry {entry.number} is not what is there"
                assert size == max(entry.size, entry.offset + len(new)), f"entry {entry.number}: {size}"
            else:
                assert size == entry.offset, f"entry {entry.number}: {size}"
        file.seek(entry.offset)
        file.write(entry.old)
        file.truncate(entry.size)


def redo(held: Path, entry: Entry, chance: random.Random) -> None:
    with open(held / str(entry.inode), "r+b") as file:
        if entry.kind == Kind.RESIZE:
            file.truncate(entry.offset)
            return
        new = entry.new if entry.done is None else entry.new[: entry.done]
        file.seek(entry.offset)
        if len(new) > SECTOR and chance.random() < 0.2:
            new = new[: chance.randrange(SECTOR, len(new), SECTOR)]
        file.write(new)


def undo_name(state: Path, held: Path, entry: Entry) -> None:
    path = state / entry.path
    match entry.kind:
        case Kind.CREATE:
            path.unlink(missing_ok=True)
        case Kind.MAKE_FOLDER:
            # With all that is in it.
            shutil.rmtree(path, ignore_errors=True)
        case Kind.REMOVE_FOLDER:
            path.mkdir(exist_ok=True)
        case Kind.UNLINK:
            if not path.exists():
                os.link(held / str(entry.inode), path)
        case Kind.RENAME:
            other = state / entry.other
            if path.exists() or not other.exists():
                return
            other.rename(path)
            if entry.offset:
                os.link(held / str(entry.offset), other)
