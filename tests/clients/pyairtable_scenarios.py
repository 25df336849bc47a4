"""What the unmodified pyairtable client can do with an endpoint that speaks Airtable's API.

The modules that take these tests in say by their fixture `endpoint` which one it is. The client
gives up after three seconds of refusals, so it is to be one without limits, or one that lets
requests wait for their turn.
A table is made for the run (the API cannot delete tables) and its records are removed at the end.
"""

import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer

import pyairtable
import pytest
import requests
from pyairtable import formulas as F
from pyairtable.models import WebhookNotification

MANY = 1000


@dataclass(frozen=True)
class Endpoint:
    """Where the client is pointed at."""

    url: str
    token: str
    base: str

SELECT = {"choices": [{"name": "low"}, {"name": "high"}]}
FIELDS = [
    {"name": "Name", "type": "singleLineText"},
    {"name": "Notes", "type": "multilineText"},
    {"name": "Number", "type": "number", "options": {"precision": 0}},
    {"name": "Level", "type": "singleSelect", "options": SELECT},
    {"name": "Tags", "type": "multipleSelects", "options": SELECT},
    {
        "name": "Done",
        "type": "checkbox",
        "options": {"icon": "check", "color": "greenBright"},
    },
    {
        "name": "Due",
        "type": "date",
        "options": {"dateFormat": {"name": "iso"}},
    },
    {"name": "Files", "type": "multipleAttachments"},
]


@pytest.fixture(scope="module")
def api(endpoint):
    return pyairtable.Api(endpoint.token, endpoint_url=endpoint.url, timeout=(5, 60))


@pytest.fixture(scope="module")
def base(api, endpoint):
    return api.base(endpoint.base)


@pytest.fixture(scope="module")
def table(base):
    name = f"Client / test {uuid.uuid4().hex[:8]}"
    table = base.create_table(name, FIELDS, description="Made by a client test")
    yield table
    clear(table)


def clear(table):
    ids = [record["id"] for record in table.all(fields=["Name"])]
    if ids:
        table.batch_delete(ids)


@pytest.fixture
def empty(table):
    clear(table)
    return table


@pytest.fixture(scope="module")
def large(base):
    """A table of a thousand records with Name and Number: one that is there, or a new one."""
    names = [t.name for t in base.schema(force=True).tables]
    if "Contacts" in names:
        contacts = base.table("Contacts")
        first = contacts.first(formula="{Number}=1", fields=["Name", "Number"])
        if first and len(contacts.all(fields=["Number"], formula="{Number}<=1000")) == MANY:
            yield contacts
            return
    table = base.create_table(f"Client many {uuid.uuid4().hex[:8]}", FIELDS[:3])
    table.batch_create([{"Name": f"Row {n:04}", "Number": n} for n in range(1, MANY + 1)])
    yield table
    clear(table)


# Listing


def test_all_pages(large):
    pages = list(large.iterate(page_size=100, fields=["Number"], sort=["Number"]))
    assert [len(page) for page in pages] == [100] * 10
    numbers = [record["fields"]["Number"] for page in pages for record in page]
    assert numbers == list(range(1, MANY + 1))


def test_small_pages_and_max_records(large):
    pages = list(large.iterate(page_size=7, max_records=20, sort=["-Number"]))
    assert [len(page) for page in pages] == [7, 7, 6]
    assert pages[0][0]["fields"]["Number"] == MANY


def test_formula_sort_and_fields(large):
    formula = F.AND(F.GTE(F.Field("Number"), 10), F.LT(F.Field("Number"), 20))
    records = large.all(formula=formula, sort=["-Number"], fields=["Name", "Number"])
    assert [record["fields"]["Number"] for record in records] == list(range(19, 9, -1))
    assert all(set(record["fields"]) == {"Name", "Number"} for record in records)


def test_formula_by_post(large):
    """A URL that is too long makes the client post the parameters."""
    records = large.all(formula=f"{{Name}} != '{'x' * 17000}'", max_records=3, sort=["Number"])
    assert len(records) == 3


def test_bad_formula(large):
    with pytest.raises(requests.HTTPError) as caught:
        large.all(formula="{No such field}=1")
    assert caught.value.response.status_code == 422
    assert "INVALID_FILTER_BY_FORMULA" in str(caught.value)


# Records


def test_create_get_update_replace_delete(empty):
    made = empty.create({"Name": "One", "Number": 1, "Done": True, "Level": "low"})
    assert made["fields"] == {"Name": "One", "Number": 1, "Done": True, "Level": "low"}
    assert empty.get(made["id"]) == made

    changed = empty.update(made["id"], {"Number": 2, "Done": False})
    assert changed["fields"] == {"Name": "One", "Number": 2, "Level": "low"}

    replaced = empty.update(made["id"], {"Number": 3}, replace=True)
    assert replaced["fields"] == {"Number": 3}

    assert empty.delete(made["id"]) == {"id": made["id"], "deleted": True}
    with pytest.raises(requests.HTTPError) as caught:
        empty.get(made["id"])
    assert caught.value.response.status_code == 404


def test_batches(empty):
    made = empty.batch_create([{"Name": f"n{i}", "Number": i} for i in range(25)])
    assert [record["fields"]["Number"] for record in made] == list(range(25))
    updated = empty.batch_update(
        [{"id": record["id"], "fields": {"Number": 100 + i}} for i, record in enumerate(made)]
    )
    assert [record["fields"]["Number"] for record in updated] == list(range(100, 125))
    replaced = empty.batch_update(
        [{"id": record["id"], "fields": {"Name": "r"}} for record in made[:3]], replace=True
    )
    assert all(record["fields"] == {"Name": "r"} for record in replaced)
    deleted = empty.batch_delete([record["id"] for record in made])
    assert len(deleted) == 25 and all(item["deleted"] for item in deleted)
    assert empty.all() == []


def test_upsert(empty):
    known = empty.create({"Name": "known", "Number": 1})
    result = empty.batch_upsert(
        [{"fields": {"Name": "known", "Number": 2}}, {"fields": {"Name": "new", "Number": 3}}],
        key_fields=["Name"],
    )
    assert result["updatedRecords"] == [known["id"]]
    assert len(result["createdRecords"]) == 1
    assert [record["fields"]["Number"] for record in result["records"]] == [2, 3]
    again = empty.batch_upsert([{"fields": {"Name": "new", "Number": 4}}], key_fields=["Name"])
    assert again["createdRecords"] == []
    assert again["updatedRecords"] == result["createdRecords"]


def test_typecast_and_field_ids(empty):
    with pytest.raises(requests.HTTPError) as caught:
        empty.create({"Level": "unheard of"})
    assert "INVALID_MULTIPLE_CHOICE_OPTIONS" in str(caught.value)
    made = empty.create({"Level": "unheard of", "Number": "12"}, typecast=True)
    assert made["fields"] == {"Level": "unheard of", "Number": 12}

    ids = {field.name: field.id for field in empty.schema(force=True).fields}
    by_id = empty.get(made["id"], use_field_ids=True)
    assert by_id["fields"] == {ids["Level"]: "unheard of", ids["Number"]: 12}
    assert empty.update(made["id"], {ids["Number"]: 13})["fields"]["Number"] == 13


def test_errors(empty):
    for fields, kind in [
        ({"No such field": 1}, "UNKNOWN_FIELD_NAME"),
        ({"Number": "text"}, "INVALID_VALUE_FOR_COLUMN"),
    ]:
        with pytest.raises(requests.HTTPError) as caught:
            empty.create(fields)
        assert caught.value.response.status_code == 422
        assert kind in str(caught.value)


def test_clients_formulas(empty):
    rows = [
        {"Name": "O'Neil", "Number": 5, "Done": True, "Due": "2024-01-02"},
        {"Name": "Plain", "Number": 1, "Tags": ["low", "high"]},
    ]
    first, second = empty.batch_create(rows)
    for formula, wanted in [
        (F.match({"Name": "O'Neil"}), first),
        (F.match({"Number": (">", 3)}), first),
        (F.match({"Done": True}), first),
        (F.match({"Due": datetime(2024, 1, 2)}), first),
        (F.EQ(F.RECORD_ID(), second["id"]), second),
        (F.FIND("high", F.Field("Tags")), second),
        (F.OR(F.EQ(F.Field("Name"), "Plain"), F.EQ(F.Field("Name"), "x")), second),
        ("Name='Plain'", second),
        (F.NOT(F.EQ(F.Field("Name"), "Plain")), first),
    ]:
        found = [record["id"] for record in empty.all(formula=formula)]
        assert found == [wanted["id"]], str(formula)


def test_string_cells(empty):
    made = empty.create({"Name": "s", "Number": 7, "Done": True, "Due": "2024-03-09"})
    shown = empty.get(
        made["id"], cell_format="string", time_zone="Europe/Berlin", user_locale="en-gb"
    )
    assert shown["fields"]["Number"] == "7"
    assert shown["fields"]["Done"] == "checked"
    assert all(isinstance(cell, str) for cell in shown["fields"].values())


# Metadata


def test_whoami_and_bases(api, endpoint):
    assert api.whoami()["id"].startswith("usr")
    assert endpoint.base in [base.id for base in api.bases(force=True)]


def test_schema(base, table):
    schema = base.schema(force=True).table(table.id)
    assert [field.name for field in schema.fields][: len(FIELDS)] == [f["name"] for f in FIELDS]
    assert schema.primary_field_id == schema.field("Name").id
    assert schema.views and schema.views[0].type == "grid"
    assert {choice.name for choice in schema.field("Tags").options.choices} >= {"low", "high"}


def test_change_schema(base):
    table = base.create_table(f"Client schema {uuid.uuid4().hex[:8]}", FIELDS[:2])
    field = table.create_field("Extra", "number", options={"precision": 2})
    assert field.id.startswith("fld")
    assert table.create({"Name": "x", "Extra": 1.5})["fields"]["Extra"] == 1.5
    schema = table.schema(force=True)
    schema.field("Extra").name = "Renamed"
    schema.field("Renamed").save()
    schema.name = f"{schema.name} b"
    schema.save()
    again = base.schema(force=True).table(table.id)
    assert again.name == schema.name and again.field("Renamed").type == "number"
    clear(base.table(table.id))


# Comments


def test_comments(empty):
    record = empty.create({"Name": "talk"})
    first = empty.add_comment(record["id"], "Hello")
    reply = empty.add_comment(record["id"], "Answer", parent_comment_id=first.id)
    assert reply.parent_comment_id == first.id
    first.text = "Hello again"
    first.save()
    comments = {comment.id: comment for comment in empty.comments(record["id"])}
    assert comments[first.id].text == "Hello again"
    assert comments[first.id].last_updated_time is not None
    counted = empty.all(count_comments=True)
    assert counted[0]["commentCount"] == 2
    reply.delete()
    assert [comment.id for comment in empty.comments(record["id"])] == [first.id]


# Attachments


def test_upload(api, empty, endpoint):
    """The client replaces the host by content.airtable.com; a proxy setting brings it here."""
    record = empty.create({"Name": "file"})
    api.session.proxies = {"http": endpoint.url}
    try:
        result = empty.upload_attachment(record["id"], "Files", "note.txt", b"some text")
    finally:
        api.session.proxies = {}
    (files,) = result["fields"].values()
    assert files[0]["filename"] == "note.txt"
    cell = empty.get(record["id"])["fields"]["Files"]
    assert requests.get(cell[0]["url"], timeout=10).content == b"some text"


# Webhooks


class Subscriber:
    """A notification URL that keeps what it is sent."""

    def __init__(self):
        received = self.received = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                received.append((body, self.headers["X-Airtable-Content-MAC"]))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, seconds=10):
        end = time.monotonic() + seconds
        while not self.received and time.monotonic() < end:
            time.sleep(0.02)
        assert self.received, "no notification came"
        return self.received[0]


@pytest.fixture
def subscriber():
    subscriber = Subscriber()
    yield subscriber
    subscriber.server.shutdown()
    subscriber.server.server_close()


def test_webhook(base, empty, subscriber, endpoint):
    filters = {"dataTypes": ["tableData"], "recordChangeScope": empty.id}
    includes = {"includePreviousCellValues": True}
    made = base.add_webhook(
        subscriber.url, {"options": {"filters": filters, "includes": includes}}
    )
    hook = base.webhook(made.id)
    try:
        record = empty.create({"Name": "seen", "Number": 1})
        empty.update(record["id"], {"Number": 2})
        empty.delete(record["id"])

        body, mac = subscriber.wait()
        note = WebhookNotification.from_request(body, mac, made.mac_secret_base64)
        assert (note.base.id, note.webhook.id) == (endpoint.base, made.id)
        with pytest.raises(ValueError):
            WebhookNotification.from_request(body + " ", mac, made.mac_secret_base64)

        created, updated, destroyed = list(hook.payloads())
        number = empty.schema(force=True).field("Number").id
        change = created.changed_tables_by_id[empty.id].created_records_by_id[record["id"]]
        assert change.cell_values_by_field_id[number] == 1
        change = updated.changed_tables_by_id[empty.id].changed_records_by_id[record["id"]]
        assert change.current.cell_values_by_field_id[number] == 2
        assert change.previous.cell_values_by_field_id[number] == 1
        gone = destroyed.changed_tables_by_id[empty.id].destroyed_record_ids
        assert gone == [record["id"]]
        assert [payload.cursor for payload in (created, updated, destroyed)] == [1, 2, 3]
        assert [payload.cursor for payload in hook.payloads(cursor=3)] == [3]

        hook.disable_notifications()
        assert base.webhook(made.id).are_notifications_enabled is False
        hook.enable_notifications()
        hook.extend_expiration()
        assert base.webhook(made.id).expiration_time > datetime.now(timezone.utc)
    finally:
        hook.delete()
    assert made.id not in [webhook.id for webhook in base.webhooks()]


def test_webhook_pages(base, empty, subscriber):
    made = base.add_webhook(
        subscriber.url, {"options": {"filters": {"dataTypes": ["tableData"]}}}
    )
    hook = base.webhook(made.id)
    try:
        record = empty.create({"Name": "many"})
        for number in range(60):
            empty.update(record["id"], {"Number": number})
        payloads = list(hook.payloads())
        assert [payload.cursor for payload in payloads] == list(range(1, 62))
    finally:
        hook.delete()
