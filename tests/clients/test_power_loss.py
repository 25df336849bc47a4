"""What was acknowledged outlives a loss of power: of what was not synced anything may be gone."""

import filecmp
import os
import random
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from acknowledged import Writes
from gateway_users import Client, login
from power_cut import Loss, cut

LIBRARY = Path(__file__).parent / "power_loss" / "unsynced.c"
# The harshest twice, since the moment differs.
LOSSES = [Loss.ALL, Loss.CONTENTS, Loss.SOME, Loss.ALL, Loss.SOME]
# A slow disk, so that there is always something that is not synced yet.
SLOW = {"POWER_LOSS_SYNC_MS": "15"}
SECONDS = (0.2, 1.5)
# First starts that are cut off, and after how long.
STARTS = 4
START_SECONDS = (0.05, 1.5)


@pytest.fixture(scope="module")
def chance():
    seed = int(os.environ.get("POWER_LOSS_SEED", random.randrange(1 << 32)))
    print(f"POWER_LOSS_SEED={seed}")
    return random.Random(seed)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    built = tmp_path_factory.mktemp("library") / "unsynced.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(built), str(LIBRARY), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return built


class Machine:
    """A state folder that power can be lost under, any number of times."""

    def __init__(self, library: Path, folder: Path):
        self.library = library
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.journal = folder / "journal"

    def watched(self, **more: str) -> dict[str, str]:
        """The environment of a process whose un-synced writes are accounted for."""
        shutil.rmtree(self.journal, ignore_errors=True)
        self.journal.mkdir()
        return {
            "LD_PRELOAD": str(self.library),
            "POWER_LOSS_ROOT": str(self.state),
            "POWER_LOSS_JOURNAL": str(self.journal),
            **more,
        }

    def lose_power(self, loss: Loss, chance: random.Random):
        """After the kill."""
        lost = cut(self.state, self.journal, loss, chance)
        print(f"{loss.value}: {lost}")
        return lost

    def check_databases(self) -> int:
        """Every database is sound as the loss left it; on copies, as looking recovers them."""
        copies = self.folder / "copies"
        shutil.rmtree(copies, ignore_errors=True)
        shutil.copytree(self.state, copies, ignore=shutil.ignore_patterns("compiled", "revisions"))
        databases = sorted(copies.rglob("*.db"))
        for path in databases:
            with sqlite3.connect(path) as database:
                database.create_collation("airhost_decimal", lambda a, b: (a > b) - (a < b))
                assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)], path
                assert not database.execute("PRAGMA foreign_key_check").fetchall(), path
            database.close()
        return len(databases)


@pytest.fixture(scope="module")
def machine(library, start_platform, chance, tmp_path_factory):
    """Lost its power when the first start had just said that it is ready."""
    machine = Machine(library, tmp_path_factory.mktemp("first"))
    running = start_platform(machine.state, environment=machine.watched())
    running.kill()
    machine.lose_power(Loss.ALL, chance)
    assert machine.check_databases() >= 7
    machine.ready = running.ready
    return machine


def another(machine: Machine, folder: Path) -> Machine:
    """The same, somewhere else."""
    shutil.copytree(machine.state, folder / "state")
    return Machine(machine.library, folder)


def works(running, ready: dict) -> str:
    """The first user's password, token and base are as the first start said; answers a session."""
    user = ready["user"]
    session = login(running, user["email"], user["password"])["access_token"]
    # Airtable's token comes from the vault.
    records = Client(running.gateway, ready["token"]).get(f"/v0/{ready['base']}/{ready['table']}")
    assert records.status_code == 200 and records.json()["records"], records.text
    return session


def test_acknowledged_writes_outlive_a_loss_of_power(machine, start_platform, chance, tmp_path):
    machine, ready = another(machine, tmp_path), machine.ready
    # What was deployed at the first start is there too.
    running = start_platform(machine.state, components="")
    writes = Writes(works(running, ready))
    assert running.stop() == 0
    unsynced = set()
    for loss in LOSSES:
        running = start_platform(machine.state, environment=machine.watched(**SLOW))
        writes.until_killed(running, chance.uniform(*SECONDS))
        unsynced.update(machine.lose_power(loss, chance).files)
        machine.check_databases()
        # Without the library, so that nothing but the files speaks.
        running = start_platform(machine.state)
        assert not writes.wrong(running)
        writes.settle(running)
        running.kill()
    assert any(".db" in name for name in unsynced), "databases were never at risk"
    running = start_platform(machine.state)
    works(running, ready)
    assert running.stop() == 0


def test_it_is_the_syncs_that_keep_them(machine, start_platform, chance, tmp_path):
    """Were syncs nothing, all would be gone: the test above can fail, and misses no write."""
    before = machine.state
    machine, ready = another(machine, tmp_path), machine.ready
    running = start_platform(machine.state, environment=machine.watched(POWER_LOSS_IGNORE_SYNCS="1"))
    writes = Writes(works(running, ready))
    writes.until_killed(running, 0.5)
    assert all(kind.made for kind in writes.kinds)
    machine.lose_power(Loss.ALL, chance)
    # To the byte as it was, so no change went past the library.
    assert files(machine.state) == files(before)
    _, different, unreadable = filecmp.cmpfiles(before, machine.state, files(before), shallow=False)
    assert (different, unreadable) == ([], [])
    running = start_platform(machine.state)
    wrong = writes.wrong(running)
    assert len(wrong) == len(writes.kinds), wrong


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_first_start_that_is_cut_off_is_made_up_for(machine, start_platform, launch, chance, tmp_path):
    for round, loss in enumerate(chance.choices(list(Loss), k=STARTS)):
        folder = tmp_path / str(round)
        new = Machine(machine.library, folder)
        # Compiling takes long and is not what this is about.
        for kept in ("compiled.key", "compiled"):
            copy = shutil.copytree if (machine.state / kept).is_dir() else shutil.copy2
            copy(machine.state / kept, new.state / kept)
        process = launch(new.state, environment=new.watched())
        time.sleep(chance.uniform(*START_SECONDS))
        process.kill()
        process.wait(timeout=20)
        new.lose_power(loss, chance)
        new.check_databases()
        running = start_platform(new.state)
        works(running, running.ready)
        running.kill()
