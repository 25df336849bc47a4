"""Writes of many kinds that go on until the platform is gone, and whether what it acknowledged is there.

Of each kind some things are made and kept, the others are removed again: what was acknowledged as
made must be there once, what was acknowledged as removed must not be, and of what was asked and
not answered there is all or nothing.
"""

import threading
import time
import uuid
from collections import Counter

import requests
from gateway_users import PASSWORD, Client, eventually

# One in so many is kept; of some kinds a tenant may not have many.
KEPT_OF = 6
# Events and mails that were on their way arrive after a restart.
SETTLED_SECONDS = 60


class Refused(Exception):
    """The platform has too much to do: nothing was done, or nothing is known."""


def ask(client: Client, method: str, path: str, **options) -> requests.Response:
    answer = client.session.request(method, client.gateway + path, timeout=30, **options)
    if answer.status_code in (429, 503):
        raise Refused
    assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer


def rows(platform, service: str, statement: str) -> list[list]:
    return [list(row.values()) for row in platform.json("sql", service, statement)]


class Kind:
    """One kind of write, and what came of it. A name is never used twice."""

    def __init__(self):
        self.made: dict[str, str] = {}
        self.removed: set[str] = set()
        self.count = 0

    def step(self, client: Client) -> None:
        name = uuid.uuid4().hex
        self.made[name] = self.make(client, name)
        self.count += 1
        if self.count % KEPT_OF:
            # From here on until the answer nothing is known of it.
            id = self.made.pop(name)
            if self.remove(client, id):
                self.removed.add(name)
            else:
                self.made[name] = id

    def make(self, client: Client, name: str) -> str:
        """Answers the id."""
        raise NotImplementedError

    def remove(self, client: Client, id: str) -> bool:
        """Whether such things are removed."""
        raise NotImplementedError

    def names(self, platform) -> list[str]:
        raise NotImplementedError

    def wrong(self, platform) -> str:
        """What is not as it must be, in words; nothing if all is."""
        there = Counter(self.names(platform))
        what = type(self).__name__.lower()
        if missing := [name for name in self.made if not there[name]]:
            return f"{what} that were acknowledged are missing: {missing}"
        if left := [name for name in self.removed if there[name]]:
            return f"{what} that were removed are there: {left}"
        if doubled := [name for name, times in there.items() if times > 1 and len(name) == 32]:
            return f"{what} are there more than once: {doubled}"
        return ""


class Workspaces(Kind):
    """A row in two tables and an event, in one transaction; with the answer to its key."""

    PATH = "/api/v1/workspaces"

    def make(self, client, name):
        return ask(client, "POST", self.PATH, json={"name": name}, headers={"idempotency-key": name}).json()["id"]

    def remove(self, client, id):
        return ask(client, "DELETE", f"{self.PATH}/{id}").ok

    def names(self, platform):
        """Through the API."""
        client, names, cursor = Client(platform.gateway, platform.token), [], None
        while True:
            page = client.get(self.PATH, params={"limit": 100} | ({"cursor": cursor} if cursor else {}))
            assert page.status_code == 200, page.text
            names += [item["name"] for item in page.json()["data"]]
            cursor = page.json().get("next_cursor")
            if not cursor:
                return names

    def wrong(self, platform):
        if found := super().wrong(platform):
            return found
        # The newest: an answer is stored with its effect.
        for name, id in list(self.made.items())[-1:]:
            again = Client(platform.gateway, platform.token).post(
                self.PATH, {"name": name}, headers={"idempotency-key": name}
            )
            if again.status_code != 201 or again.json()["id"] != id or "idempotency-replayed" not in again.headers:
                return f"the answer to a key is not given again: {again.status_code} {again.text}"
        return ""


class Users(Kind):
    """A row in three tables, an event and a mail, in one transaction."""

    def make(self, client, name):
        input = {"email": f"{name}@example.com", "password": PASSWORD, "name": name}
        nobody = Client(client.gateway)
        assert ask(nobody, "POST", "/api/v1/auth/register", json=input).status_code == 202
        return name

    def remove(self, client, id):
        return False

    def names(self, platform):
        emails = rows(platform, "auth-service", "SELECT email FROM users")
        return [email.removesuffix("@example.com") for (email,) in emails]


class Tokens(Kind):
    """Long-lived tokens, which work or do not."""

    PATH = "/api/v1/auth/tokens"

    def __init__(self, session: str):
        super().__init__()
        self.session = session
        self.secrets: dict[str, str] = {}

    def make(self, client, name):
        input = {"kind": "personal", "name": name, "scopes": ["*"]}
        made = ask(Client(client.gateway, self.session), "POST", self.PATH, json=input).json()
        self.secrets[name] = made["token"]
        return made["id"]

    def remove(self, client, id):
        return ask(Client(client.gateway, self.session), "DELETE", f"{self.PATH}/{id}").ok

    def names(self, platform):
        live = "SELECT name FROM api_tokens WHERE revoked_at IS NULL"
        return [name for (name,) in rows(platform, "auth-service", live)]

    def wrong(self, platform):
        if found := super().wrong(platform):
            return found
        for names, status in ((list(self.made)[-3:], 200), (list(self.removed)[-3:], 401)):
            for name in names:
                got = Client(platform.gateway, self.secrets[name]).get("/v0/meta/whoami").status_code
                if got != status:
                    return f"token {name} is answered {got}"
        return ""


class Roles(Kind):
    """A row, the tenant's revision and an event, in one transaction."""

    PATH = "/api/v1/permissions/roles"

    def make(self, client, name):
        input = {"name": name, "permissions": ["record.read"]}
        return ask(client, "POST", self.PATH, json=input).json()["id"]

    def remove(self, client, id):
        return ask(client, "DELETE", f"{self.PATH}/{id}").ok

    def names(self, platform):
        return [name for (name,) in rows(platform, "permission-service", "SELECT name FROM roles")]


class Policy(Kind):
    """One row that is changed again and again, each time with its version in another table."""

    NAME = "durability"

    def __init__(self):
        super().__init__()
        self.acknowledged = 0

    def step(self, client):
        rule = {"algorithm": "fixed_window", "period_seconds": 60, "by": ["user"]}
        path = f"/api/v1/limits/policies/{self.NAME}"
        put = ask(client, "PUT", path, json=rule | {"capacity": self.acknowledged + 1}).json()
        self.acknowledged = put["version"]
        self.made[self.NAME] = self.NAME

    def wrong(self, platform):
        of_it = f"WHERE name = '{self.NAME}'"
        current = rows(platform, "rate-limiter-service", f"SELECT version, rule FROM policies {of_it}")
        versions = rows(
            platform,
            "rate-limiter-service",
            f"SELECT version, rule FROM policy_versions {of_it} ORDER BY version",
        )
        if [version for version, _ in versions] != list(range(1, len(versions) + 1)):
            return f"versions of the policy are missing: {versions}"
        if current != versions[-1:]:
            return f"the policy is {current} and its last version {versions[-1:]}"
        # One more may have been written and not answered.
        if len(versions) - self.acknowledged not in (0, 1):
            return f"the policy has {len(versions)} versions, and {self.acknowledged} were acknowledged"
        self.acknowledged = len(versions)
        return ""


class Writer(threading.Thread):
    """Writes things of a kind until the other side is gone."""

    def __init__(self, kind: Kind, gateway: str, token: str):
        super().__init__(daemon=True)
        self.kind = kind
        self.client = Client(gateway, token)
        self.begun = len(kind.made)
        self.failure: AssertionError | None = None

    @property
    def has_written(self) -> bool:
        return isinstance(self.kind, Policy) and self.kind.acknowledged > 0 or len(self.kind.made) > self.begun

    def run(self):
        while True:
            try:
                self.kind.step(self.client)
            except Refused:
                time.sleep(0.1)
            except requests.RequestException:
                return
            except AssertionError as error:
                self.failure = error
                return


class Writes:
    """All kinds, over any number of restarts."""

    def __init__(self, session: str):
        self.workspaces, self.users = Workspaces(), Users()
        self.kinds = [self.workspaces, self.users, Tokens(session), Roles(), Policy()]

    def until_killed(self, platform, seconds: float) -> None:
        """Writes for some time, all kinds at once, then kills the platform."""
        writers = [Writer(kind, platform.gateway, platform.token) for kind in self.kinds]
        for writer in writers:
            writer.start()
        assert eventually(
            lambda: all(writer.has_written or writer.failure for writer in writers), seconds=30
        )
        time.sleep(seconds)
        platform.kill()
        for writer in writers:
            writer.join(timeout=40)
            assert not writer.is_alive()
            assert not writer.failure, writer.failure

    def wrong(self, platform) -> list[str]:
        """What of that which is true at once after a start is not."""
        return [found for kind in self.kinds if (found := kind.wrong(platform))]

    def settle(self, platform) -> None:
        """Waits until what one transaction caused elsewhere is there too."""
        found = "never looked"

        def settled():
            nonlocal found
            found = self.half_done(platform)
            return not found

        assert eventually(settled, seconds=SETTLED_SECONDS), found

    def half_done(self, platform) -> str:
        """What is not (yet) whole, in words."""
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
        one_time = rows(
            platform,
            "auth-service",
            "SELECT u.email, count(m.user_id) AS memberships, count(o.user_id) AS codes FROM users u"
            " LEFT JOIN memberships m ON m.user_id = u.id"
            " LEFT JOIN one_time_tokens o ON o.user_id = u.id GROUP BY u.id, u.email",
        )
        written = set(self.users.made)
        for email, memberships, codes in one_time:
            if memberships != 1 or (email.removesuffix("@example.com") in written and codes != 1):
                return f"{email} has {memberships} memberships and {codes} codes"
        mailed = b"".join(path.read_bytes() for path in (platform.state / "mail").glob("*.eml"))
        if missing := [name for name in written if f"{name}@example.com".encode() not in mailed]:
            return f"users have no mail: {missing}"
        windows = rows(platform, "rate-limiter-service", "SELECT bucket FROM usage_windows WHERE NOT closed")
        jobs = rows(
            platform, "rate-limiter-service", "SELECT job_key FROM _airhost_jobs WHERE kind = 'close-window'"
        )
        if sorted(windows) != sorted(jobs):
            return f"windows of quotas {windows} and jobs that close them {jobs}"
        return ""
