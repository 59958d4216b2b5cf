"""The hub checked against its document by schemathesis, for every operation: no 5xx, no status and no media type that
the document doesn't have, every response valid by its schema, 405 with `Allow` for methods that a path doesn't have.

A stream's headers and parameters are strings in the document, most of which are invalid for the hub. A request that the
document allows may therefore be refused, and the test checks the refusal.

Of an endless response, the test reads the part that arrives within a tenth of a second (`patience.Impatient`).
"""

import hashlib
import json

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from hub import Hub
from patience import Impatient
from test_schemathesis import load

CONTENT_TYPES = ["application/json", "application/octet-stream", "application/x-ndjson", "text/plain"]
ACCEPT = ["*/*", "text/event-stream", "application/x-ndjson", "application/json"]
# The streams that most requests use, so that there are some to append to, to read and to fork.
STREAMS = ["a", "b", "some/path", "*", "%2A%2A"]


def document():
    with Hub() as hub:
        return requests.get(hub.url("/openapi.json"), timeout=10).json()


SCHEMA = load(document())


@pytest.fixture(scope="module", params=["memory", "disk"])
def hub(request, tmp_path_factory):
    data = tmp_path_factory.mktemp("hub") if request.param == "disk" else None
    with Hub(data) as hub:
        yield hub
        # After all requests the hub still runs, and ends on SIGTERM.
        assert requests.get(hub.url("/healthz"), timeout=10).status_code == 200
        assert hub.terminate() == 0


@pytest.fixture(scope="module")
def session():
    with requests.Session() as session:
        session.mount("http://", Impatient())
        yield session


def choices(case):
    """Random numbers that are the same for the same request."""
    text = repr((case.path_parameters, case.query, case.headers, case.body))
    return hashlib.sha256(text.encode(errors="replace")).digest()


def steer(case):
    """Redirects a request to an existing stream, and keeps its calls on this machine."""
    path, content_type, accept, *_ = choices(case)
    if "{path}" in case.operation.path and path < 200:
        case.path_parameters["path"] = STREAMS[path % len(STREAMS)]
    if isinstance(case.body, dict) and isinstance(case.body.get("webhook"), dict):
        case.body["webhook"]["url"] = "http://127.0.0.1:9/"
    if case.operation.path == "/gather" and isinstance(case.body, list):
        for call in case.body:
            if isinstance(call, dict) and "url" in call:
                call["url"] = "http://127.0.0.1:9/"
    headers = {"Accept": ACCEPT[accept % len(ACCEPT)]}
    if case.operation.path == "/streams/{path}" and case.method in ("PUT", "POST"):
        headers["Content-Type"] = CONTENT_TYPES[content_type % len(CONTENT_TYPES)]
    return headers


@SCHEMA.parametrize()
# Every run makes the same requests, so that a fault can be reproduced.
@settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_the_hub_is_as_its_document_says(case, hub, session):
    case.call_and_validate(
        hub.url(""),
        session,
        headers=steer(case),
        excluded_checks=[positive_data_acceptance, negative_data_rejection],
    )


def test_the_document_has_the_operations_that_are_tried():
    operations = {operation.ok().label for operation in SCHEMA.get_all_operations()}
    assert len(operations) >= 10, operations
    assert json.dumps(sorted(operations)).count("/streams/{path}") >= 5
