"""People at the gateway, made the way people are: registered, verified by mail, logged in."""

import email
import email.policy
import re
import time
import uuid
from pathlib import Path

import requests

PASSWORD = "a long sentence is good"


class Client:
    """Somebody with a token, or nobody."""

    def __init__(self, gateway: str, token: str | None = None):
        self.gateway = gateway
        self.session = requests.Session()
        if token:
            self.session.headers["authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, **options) -> requests.Response:
        """Asks once more after a pause that a limit on addresses or log-ins wants."""
        for _ in range(3):
            answer = self.session.request(method, self.gateway + path, timeout=70, **options)
            if answer.status_code != 429 or "gateway.ip" not in answer.headers.get("ratelimit", ""):
                return answer
            time.sleep(int(answer.headers["retry-after"]))
        return answer

    def get(self, path: str, **options) -> requests.Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, body=None, **options) -> requests.Response:
        return self.ask("POST", path, json=body, **options)

    def delete(self, path: str, **options) -> requests.Response:
        return self.ask("DELETE", path, **options)


def eventually(check, seconds: float = 20):
    """What `check` answers once it is true. Rights and mails travel by events."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found or time.monotonic() > end:
            return found
        time.sleep(0.05)


def mailed_code(state: Path, address: str, prefix: str) -> str:
    """The code in the newest mail to an address."""

    def newest():
        for path in sorted((state / "mail").glob("*.eml"), reverse=True):
            mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            text = mail.get_body(("plain",)).get_content() if mail["to"] == address else ""
            if found := re.search(rf"^\s+({prefix}_[\w-]+)\s*$", text, re.MULTILINE):
                return found.group(1)
        return None

    code = eventually(newest)
    assert code, f"no mail with a code came to {address}"
    return code


def register(platform) -> tuple[str, dict]:
    """Somebody new, who is verified: the address, and what the login answers."""
    nobody = Client(platform.gateway)
    address = f"{uuid.uuid4().hex[:12]}@example.com"
    input = {"email": address, "password": PASSWORD, "name": "Somebody"}
    assert nobody.post("/api/v1/auth/register", input).status_code == 202
    code = mailed_code(platform.state, address, "ot")
    assert nobody.post("/api/v1/auth/verify-email", {"token": code}).status_code == 200
    return address, login(platform, address)


def login(platform, address: str, password: str = PASSWORD, **more) -> dict:
    answer = Client(platform.gateway).post(
        "/api/v1/auth/login", {"email": address, "password": password, **more}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def member(platform, owner: Client, role: str) -> Client:
    """Somebody who has accepted an invitation to the owner's tenant, acting there."""
    address, own = register(platform)
    invited = owner.post(
        "/api/v1/tenants/current/invitations", {"email": address, "role": role}
    )
    assert invited.status_code == 201, invited.text
    code = mailed_code(platform.state, address, "inv")
    accepted = eventually(
        lambda: (
            (answer := Client(platform.gateway, own["access_token"]).post(
                "/api/v1/tenants/invitations/accept", {"token": code}
            )).ok
            and answer
        )
    )
    assert accepted, "the invitation was not accepted"
    tenant = owner.get("/api/v1/tenants/current").json()["id"]

    def there():
        input = {"email": address, "password": PASSWORD, "tenant_id": tenant}
        answer = Client(platform.gateway).post("/api/v1/auth/login", input)
        return answer.json()["access_token"] if answer.ok else None

    token = eventually(there)
    assert token, "the new member cannot log in to the tenant"
    return Client(platform.gateway, token)
