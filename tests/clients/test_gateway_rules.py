"""What the gateway refuses, and how: every refusal in the shape of the API that was asked."""

import base64
import json
import threading
import time
import uuid
from datetime import datetime, timedelta, timezone

import pytest
import requests
from gateway_users import PASSWORD, Client, eventually, login, mailed_code, member, register

RECORDS = "/v0/appDemoSales00001/Companies"
WHOAMI = "/v0/meta/whoami"


def airtable_error(answer: requests.Response, status: int, kind: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["error"]["type"] == kind
    assert answer.json()["error"]["message"]


def not_found(answer: requests.Response) -> None:
    assert (answer.status_code, answer.json()) == (404, {"error": "NOT_FOUND"})


def problem(answer: requests.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["detail"] and body["correlation_id"] == answer.headers["x-correlation-id"]


@pytest.fixture(scope="module")
def owner(platform):
    """The first user, with a session: tokens are not made with tokens."""
    user = platform.ready["user"]
    tokens = login(platform, user["email"], user["password"])
    return Client(platform.gateway, tokens["access_token"])


@pytest.fixture(scope="module")
def nobody(platform):
    return Client(platform.gateway)


@pytest.fixture(scope="module")
def viewer(platform, owner):
    return member(platform, owner, "viewer")


@pytest.fixture(scope="module")
def stranger(platform):
    """Somebody with a tenant of their own."""
    return Client(platform.gateway, register(platform)[1]["access_token"])


def new_token(owner: Client, **more) -> tuple[str, Client]:
    input = {"kind": "personal", "name": uuid.uuid4().hex, "scopes": ["*"], **more}
    made = owner.post("/api/v1/auth/tokens", input)
    assert made.status_code == 201, made.text
    return made.json()["id"], Client(owner.gateway, made.json()["token"])


# Who may


def test_a_viewer_reads_and_does_not_write(owner, viewer):
    listed = eventually(lambda: (answer := viewer.get(RECORDS)).ok and answer)
    assert listed.json()["records"]
    record = listed.json()["records"][0]["id"]
    kind = "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"
    airtable_error(viewer.post(RECORDS, {"fields": {"Name": "x"}}), 403, kind)
    airtable_error(viewer.delete(f"{RECORDS}/{record}"), 403, kind)
    airtable_error(viewer.ask("PATCH", f"{RECORDS}/{record}", json={"fields": {}}), 403, kind)
    airtable_error(viewer.post(f"{RECORDS}/{record}/comments", {"text": "x"}), 403, kind)
    denied = viewer.post("/api/v1/workspaces", {"name": uuid.uuid4().hex})
    assert (denied.status_code, denied.json()["status"]) == (403, 403)
    assert denied.headers["content-type"] == "application/problem+json"
    assert owner.get(f"{RECORDS}/{record}").status_code == 200


def test_a_role_that_is_taken_away_is_gone(owner, platform):
    editor = member(platform, owner, "editor")
    made = eventually(
        lambda: (answer := editor.post(RECORDS, {"fields": {"Name": "by an editor"}})).ok and answer
    )
    record = made.json()["id"]
    me = editor.get("/api/v1/auth/me").json()
    gone = owner.delete(f"/api/v1/tenants/current/members/{me.get('user_id') or me['id']}")
    assert gone.status_code == 204, gone.text
    assert eventually(lambda: editor.get(f"{RECORDS}/{record}").status_code in (401, 403))
    assert editor.delete(f"{RECORDS}/{record}").status_code in (401, 403)
    assert owner.delete(f"{RECORDS}/{record}").status_code == 200


def test_anothers_base_is_as_an_unknown_one(owner, stranger):
    assert owner.get(RECORDS).status_code == 200
    unknown = "/v0/appNobodyHasThis1/Companies"
    for path in (RECORDS, unknown, f"{RECORDS}/recCompany0000001"):
        not_found(stranger.get(path))
        not_found(stranger.post(path.rsplit("/rec", 1)[0], {"fields": {}}))
    not_found(stranger.get("/v0/meta/bases/appDemoSales00001/tables"))
    not_found(owner.get(unknown))
    assert stranger.get("/v0/meta/bases").json() == {"bases": []}


def test_a_limited_token_is_limited(owner):
    _, reader = new_token(owner, scopes=["data.records:read"])
    assert reader.get(RECORDS).status_code == 200
    kind = "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"
    airtable_error(reader.post(RECORDS, {"fields": {}}), 403, kind)
    problem(reader.post("/api/v1/workspaces", {"name": "x"}), 403, "token.scope")


# Tokens


def forge(jwt: str, claims: dict | None = None, header: dict | None = None) -> str:
    """The token with other claims or another head, under the signature that it had."""

    def changed(part: str, changes: dict | None) -> str:
        if changes is None:
            return part
        values = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) | changes
        return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")

    head, body, signature = jwt.split(".")
    return ".".join([changed(head, header), changed(body, claims), signature])


def test_tokens_that_do_not_hold(platform, owner, nobody):
    jwt = owner.session.headers["authorization"].removeprefix("Bearer ")
    name, secret = platform.token.split(".")
    wrong = {
        "forged claims": forge(jwt, claims={"scope": "*", "exp": int(time.time()) + 10**6}),
        "no signature": forge(jwt, header={"alg": "none"}).rsplit(".", 1)[0] + ".",
        "another algorithm": forge(jwt, header={"alg": "HS256"}),
        "an unknown key": forge(jwt, header={"kid": "nobody"}),
        "a wrong secret": f"{name}.{'0' * len(secret)}",
        "an unknown token": f"patAAAAAAAAAAAAAA.{secret}",
        "no token of ours": "keyABCDEFGHIJKLMN",
    }
    for what, token in wrong.items():
        client = Client(platform.gateway, token)
        airtable_error(client.get(WHOAMI), 401, "AUTHENTICATION_REQUIRED"), what
        problem(client.get("/api/v1/users/me"), 401, "token.invalid"), what
    airtable_error(nobody.get(WHOAMI), 401, "AUTHENTICATION_REQUIRED")
    answer = nobody.get("/api/v1/users/me")
    assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_that_expires(owner):
    at = datetime.now(timezone.utc) + timedelta(seconds=3)
    _, client = new_token(owner, expires_at=at.isoformat().replace("+00:00", "Z"))
    assert client.get(WHOAMI).status_code == 200
    time.sleep(max(0.0, (at - datetime.now(timezone.utc)).total_seconds() + 0.5))
    airtable_error(client.get(WHOAMI), 401, "AUTHENTICATION_REQUIRED")


def test_a_revoked_token_is_refused_within_a_second(owner):
    token, client = new_token(owner)
    assert client.get(WHOAMI).status_code == 200
    assert owner.delete(f"/api/v1/auth/tokens/{token}").status_code == 204
    began = time.monotonic()
    while (answer := client.get(WHOAMI)).status_code == 200:
        assert time.monotonic() - began < 1, "the token still works"
    airtable_error(answer, 401, "AUTHENTICATION_REQUIRED")
    assert time.monotonic() - began < 1


def test_a_secret_is_not_kept_for_a_repetition(platform):
    address, tokens = register(platform)
    user = Client(platform.gateway, tokens["access_token"])
    nobody = Client(platform.gateway)
    credentials = {"email": address, "password": PASSWORD}
    token = {"kind": "personal", "name": "once", "scopes": ["*"]}
    for client, path, body in [
        (nobody, "/api/v1/auth/login", credentials),
        (user, "/api/v1/auth/tokens", token),
    ]:
        key = {"idempotency-key": uuid.uuid4().hex}
        first = client.post(path, body, headers=key)
        assert first.ok and first.headers["cache-control"] == "no-store", first.text
        problem(client.post(path, body, headers=key), 409, "idempotency.withheld")
        problem(client.post(path, body | {"more": 1}, headers=key), 422, "idempotency.mismatch")
        stored = b"".join(file.read_bytes() for file in (platform.state / "databases").iterdir())
        assert first.json()["token"].encode() not in stored
    assert len(user.get("/api/v1/auth/tokens").json()["data"]) == 1


# Signing in


def test_sign_in_and_out(platform, nobody):
    address = f"{uuid.uuid4().hex[:12]}@example.com"
    input = {"email": address, "password": PASSWORD, "name": "Ada"}
    first = nobody.post("/api/v1/auth/register", input)
    assert first.status_code == 202
    code = mailed_code(platform.state, address, "ot")
    attempt = {"email": address, "password": PASSWORD}
    problem(nobody.post("/api/v1/auth/login", attempt), 403, "email_unverified")
    assert nobody.post("/api/v1/auth/verify-email", {"token": code}).status_code == 200
    wrong = nobody.post("/api/v1/auth/verify-email", {"token": f"{code[:-4]}AAAA"})
    assert 400 <= wrong.status_code < 500 and wrong.json()["code"], wrong.text
    # Whoever asks cannot tell by the answer that the address is known.
    assert nobody.post("/api/v1/auth/register", input).text == first.text

    wrong = nobody.post("/api/v1/auth/login", attempt | {"password": "another one entirely"})
    stranger = nobody.post("/api/v1/auth/login", attempt | {"email": "nobody@example.com"})
    assert wrong.status_code == stranger.status_code == 401
    assert wrong.json()["code"] == stranger.json()["code"]
    assert wrong.json()["detail"] == stranger.json()["detail"]

    tokens = login(platform, address)
    client = Client(platform.gateway, tokens["access_token"])
    assert client.get("/api/v1/auth/me").json()["email"] == address
    assert eventually(lambda: client.get("/api/v1/users/me").ok)

    second = nobody.post("/api/v1/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    assert second.status_code == 200
    renewed = Client(platform.gateway, second.json()["access_token"])
    assert renewed.get("/api/v1/users/me").status_code == 200
    # The first one again: it was stolen, or is with a thief. The whole session ends.
    again = nobody.post("/api/v1/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    assert again.status_code == 401
    newest = nobody.post("/api/v1/auth/refresh", {"refresh_token": second.json()["refresh_token"]})
    assert newest.status_code == 401
    assert eventually(lambda: renewed.get("/api/v1/users/me").status_code == 401, 2)

    tokens = login(platform, address)
    client = Client(platform.gateway, tokens["access_token"])
    assert client.post("/api/v1/auth/logout").status_code == 204
    assert eventually(lambda: client.get("/api/v1/users/me").status_code == 401, 1)
    over = nobody.post("/api/v1/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    assert over.status_code == 401


# What is no request


def test_wrong_requests(owner, nobody):
    broken = {"data": "{", "headers": {"content-type": "application/json"}}
    refused = owner.ask("POST", RECORDS, **broken)
    assert refused.status_code in (400, 422) and refused.json()["error"]["type"], refused.text
    problem(owner.ask("POST", "/api/v1/workspaces", **broken), 400, "request.json")
    unknown = owner.post("/api/v1/workspaces", {"name": "x", "colour": "red"})
    assert unknown.status_code == 422 and unknown.json()["errors"], unknown.text
    untyped = owner.ask("POST", "/api/v1/workspaces", data="name=x")
    assert untyped.status_code in (400, 415) and untyped.json()["code"], untyped.text

    large = {"data": b" " * (11 << 20), "headers": {"content-type": "application/json"}}
    answer = owner.ask("POST", RECORDS, **large)
    assert answer.status_code == 413 and answer.json()["error"]["type"], answer.text
    problem(owner.ask("POST", "/api/v1/workspaces", **large), 413, "body.too-large")

    problem(owner.get("/nothing/here"), 404, "request.no-route")
    problem(owner.get("/internal/v1/auth/exchange"), 404, "request.no-route")
    not_found(owner.get("/v0"))
    not_found(owner.get("/v0/nobase/Table"))
    not_found(owner.ask("PATCH", WHOAMI))
    wrong = nobody.delete("/openapi.json")
    problem(wrong, 405, "request.method")
    assert "GET" in wrong.headers["allow"]
    wrong = owner.ask("PUT", "/api/v1/workspaces", json={})
    assert wrong.status_code == 405 and "POST" in wrong.headers["allow"], wrong.text


def test_more_than_ten_records(owner):
    many = {"records": [{"fields": {"Name": str(n)}} for n in range(11)]}
    answer = owner.post(RECORDS, many)
    assert answer.status_code == 422 and answer.json()["error"]["type"], answer.text


# Too much


def test_too_many_requests(stranger, platform):
    refusals, end = [], time.monotonic() + 30

    def hammer():
        client = Client(platform.gateway)
        client.session.headers.update(stranger.session.headers)
        while not refusals and time.monotonic() < end:
            answer = client.get(WHOAMI)
            if answer.status_code != 200:
                refusals.append(answer)

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refusals, "no request was refused"
    refused = refusals[0]
    assert refused.status_code == 429
    assert refused.json()["errors"][0]["error"] == "RATE_LIMIT_REACHED"
    assert int(refused.headers["retry-after"]) >= 1
    assert '"gateway.user"' in refused.headers["ratelimit"]
    assert refused.headers["ratelimit-policy"]
    time.sleep(int(refused.headers["retry-after"]))
    assert stranger.get(WHOAMI).status_code == 200


# Airtable away


@pytest.fixture
def faults(platform):
    """Has the simulator misbehave for all requests, until the end of the test."""

    def strike(action) -> None:
        url = f"{platform.simulator}/_sim/faults"
        assert requests.post(url, json={"count": 100000, "action": action}, timeout=10).ok

    yield strike
    requests.delete(f"{platform.simulator}/_sim/faults", timeout=10)


AWAY = {"error": {"type": "SERVICE_UNAVAILABLE", "message": "Airtable is being repaired"}}


@pytest.mark.parametrize(
    "action", [{"status": {"code": 503, "body": AWAY}}, "drop"], ids=["503", "drop"]
)
def test_while_airtable_is_away(owner, faults, action):
    anew = {"cache-control": "no-cache"}
    fresh = eventually(
        lambda: (answer := owner.get(RECORDS, headers=anew)).headers["x-airhost-cache"] == "miss"
        and answer,
        seconds=60,
    )
    assert fresh.status_code == 200, fresh.text
    faults(action)
    for options in ({}, {"headers": anew}):
        kept = owner.get(RECORDS, **options)
        assert (kept.status_code, kept.json()) == (200, fresh.json())
        assert kept.headers["x-airhost-cache"] == ("stale" if options else "hit")
    assert kept.headers["warning"].startswith("110 ")
    for _ in range(6):
        unseen = owner.get(RECORDS, params={"maxRecords": 1, "filterByFormula": f"'{uuid.uuid4()}'"})
        airtable_error(unseen, 503, "SERVICE_UNAVAILABLE")
        airtable_error(owner.post(RECORDS, {"fields": {"Name": "x"}}), 503, "SERVICE_UNAVAILABLE")
        assert int(unseen.headers.get("retry-after", 1)) >= 1
    kept = owner.get(RECORDS, headers=anew)
    assert (kept.headers["x-airhost-cache"], kept.json()) == ("stale", fresh.json())
