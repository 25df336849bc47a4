"""The document that the gateway publishes of all services."""

import time

import requests
from openapi_spec_validator import validate

SERVICES = ["/api/v1/auth/login", "/api/v1/users/me", "/api/v1/permissions/check",
            "/api/v1/limits/policies", "/api/v1/connections", "/v0/meta/whoami"]


def test_all_services_are_in_one_valid_document(platform):
    for _ in range(5):
        document = requests.get(f"{platform.gateway}/openapi.json", timeout=30).json()
        missing = [path for path in SERVICES if path not in document["paths"]]
        if not missing:
            break
        # What is incomplete is kept for five seconds.
        time.sleep(5)
    assert not missing
    validate(document)
    assert not [path for path in document["paths"] if path.startswith("/internal")]


def test_the_reference_page_needs_nobody_else(platform):
    page = requests.get(f"{platform.gateway}/docs", timeout=30)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for part in ("reference.js", "reference.css"):
        assert f"/docs/{part}" in page.text
        assert requests.get(f"{platform.gateway}/docs/{part}", timeout=30).ok
    assert "http://" not in page.text and "https://" not in page.text
