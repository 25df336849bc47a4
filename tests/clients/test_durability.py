"""What was acknowledged outlives the process's being killed, whole and once."""

import random
import threading
import time
import uuid
from collections import Counter

import requests
from gateway_users import PASSWORD, Client, eventually

ROUNDS = 4
# Of a random moment: late enough for some writes, long enough for the moments to differ.
SECONDS = (0.5, 2.5)


class Writer(threading.Thread):
    """Writes until the other side is gone; keeps what was acknowledged."""

    def __init__(self, gateway: str, token: str | None, write):
        super().__init__(daemon=True)
        self.client = Client(gateway, token)
        self.write = write
        self.asked: list[str] = []
        self.acknowledged: list[str] = []

    def run(self):
        while True:
            name = uuid.uuid4().hex
            self.asked.append(name)
            try:
                answer = self.write(self.client, name)
            except requests.RequestException:
                return
            if answer.ok:
                self.acknowledged.append(name)
            else:
                assert answer.status_code in (429, 503), answer.text
                time.sleep(0.1)


def add_workspace(client: Client, name: str) -> requests.Response:
    return client.session.post(f"{client.gateway}/api/v1/workspaces", json={"name": name}, timeout=30)


def register(client: Client, name: str) -> requests.Response:
    input = {"email": f"{name}@example.com", "password": PASSWORD, "name": name}
    return client.session.post(f"{client.gateway}/api/v1/auth/register", json=input, timeout=30)


def rows(platform, service: str, statement: str) -> list[list]:
    return [list(row.values()) for row in platform.json("sql", service, statement)]


def listed(client: Client) -> Counter:
    """All workspaces, through the API."""
    names, cursor = Counter(), None
    while True:
        page = client.get("/api/v1/workspaces", params={"limit": 100} | ({"cursor": cursor} if cursor else {}))
        assert page.status_code == 200, page.text
        names.update(item["name"] for item in page.json()["data"])
        cursor = page.json().get("next_cursor")
        if not cursor:
            return names


def whole(platform, workspaces: list[str], users: list[str]) -> str:
    """What is not (yet) as it must be, in words; nothing if all is."""
    # Everybody's first workspace has the same name.
    present = dict(rows(platform, "user-service", "SELECT id, name FROM workspaces"))
    owned = Counter(
        id for (id,) in rows(platform, "user-service", "SELECT workspace_id FROM workspace_members")
    )
    bound = Counter(
        id
        for (id,) in rows(
            platform,
            "permission-service",
            "SELECT resource_id FROM role_bindings WHERE resource_kind = 'workspace'",
        )
    )
    for id, name in present.items():
        if (owned[id], bound[id]) != (1, 1):
            return f"workspace {name} has {owned[id]} members and {bound[id]} bindings"
    if strays := (set(owned) | set(bound)) - set(present):
        return f"members or bindings of no workspace: {strays}"
    known = Counter(e for (e,) in rows(platform, "auth-service", "SELECT email FROM users"))
    profiles = Counter(e for (e,) in rows(platform, "user-service", "SELECT email FROM profiles"))
    if profiles != known:
        return f"users and profiles differ: {(profiles - known) + (known - profiles)}"
    if missing := set(workspaces) - set(present.values()):
        return f"acknowledged workspaces are missing: {missing}"
    if missing := [name for name in users if known[f"{name}@example.com"] != 1]:
        return f"acknowledged users are missing: {missing}"
    mailed = b"".join(path.read_bytes() for path in (platform.state / "mail").glob("*.eml"))
    if missing := [name for name in users if f"{name}@example.com".encode() not in mailed]:
        return f"users have no mail: {missing}"
    return ""


def test_acknowledged_writes_outlive_a_kill(start_platform, tmp_path):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    state = tmp_path / "state"
    running = start_platform(state)
    token = running.token
    workspaces: list[str] = []
    users: list[str] = []
    for _ in range(ROUNDS):
        writers = [
            Writer(running.gateway, token, add_workspace),
            Writer(running.gateway, token, add_workspace),
            Writer(running.gateway, None, register),
        ]
        for writer in writers:
            writer.start()
        assert eventually(lambda: all(writer.acknowledged for writer in writers))
        time.sleep(moments.uniform(*SECONDS))
        running.kill()
        for writer in writers:
            writer.join(timeout=40)
            assert not writer.is_alive()
        workspaces += writers[0].acknowledged + writers[1].acknowledged
        users += writers[2].acknowledged

        running = start_platform(state)
        names = listed(Client(running.gateway, token))
        for name in workspaces:
            assert names[name] == 1, f"{name} is there {names[name]} times"
        assert max(names.values()) == 1
        # Events and mails that were on their way arrive after the restart, once.
        wrong = "never looked"

        def settled():
            nonlocal wrong
            wrong = whole(running, workspaces, users)
            return not wrong

        assert eventually(settled, seconds=60), wrong
    assert running.stop() == 0
