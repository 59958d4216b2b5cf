"""The tour checked against its document by schemathesis, which generates requests from the document: valid
and invalid ones, for every operation and every bound in it.

The test asserts: no 5xx; no status and no media type that the document doesn't have; every body and
every item valid by its schema; everything that the document forbids is refused, and everything that
it allows is not; methods that a path doesn't have get 405 with `Allow`.

Not covered: schemathesis would wait for the end of endless streams, so of each stream it receives
the part that arrives within a tenth of a second (`patience.Impatient`). Other tests cover the rest.
It doesn't know the items of NDJSON and of JSON text sequences either: our own check passes each of
them to the `jsonschema` package.
"""

import copy
import json
import subprocess

import jsonschema
import pytest
import requests
import schemathesis
from hypothesis import settings
from schemathesis.specs.openapi.checks import (
    positive_data_acceptance,
    status_code_conformance,
)

from patience import Impatient
from programs import binary
from tour import Tour

MEDIA_TYPES = [
    "application/x-ndjson",
    "text/event-stream",
    "application/json-seq",
    "application/json",
    "text/plain",
]


# Test cases are collected before a server runs; the tour prints its document without one.
DOCUMENT = json.loads(
    subprocess.run(
        [binary("HEADWATER_TOUR"), "--openapi"], check=True, capture_output=True, timeout=30
    ).stdout
)


# The document leaves 64-bit bounds to the format, which schemathesis doesn't know.
BOUNDS = {
    "int64": {"minimum": -(2**63), "maximum": 2**63 - 1},
    "uint64": {"minimum": 0, "maximum": 2**64 - 1},
    "uint": {"minimum": 0, "maximum": 2**64 - 1},
}


def bounded(value):
    """The document with the bounds that its formats imply."""
    if isinstance(value, list):
        return [bounded(each) for each in value]
    if not isinstance(value, dict):
        return value
    bounds = BOUNDS.get(value.get("format"), {}) if value.get("type") == "integer" else {}
    return bounds | {name: bounded(each) for name, each in value.items()}


def load(document):
    document = bounded(document)
    for path in document["paths"].values():
        for operation in path.values():
            # It represents every status that isn't named: with it, no status would be undocumented.
            operation["responses"].pop("default", None)
    return schemathesis.openapi.from_dict(document)


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """A tour with a log to follow."""
    log = tmp_path_factory.mktemp("log") / "app.log"
    log.write_text("".join(f"line {n}\n" for n in range(1, 30)))
    with Tour("--log", str(log)) as tour:
        yield tour


@pytest.fixture(scope="module")
def session():
    with requests.Session() as session:
        session.mount("http://", Impatient())
        yield session


@schemathesis.check
def items_hold_their_schema(_context, response, case):
    media_type = response.headers["content-type"][0] if "content-type" in response.headers else ""
    document = case.operation.schema.raw_schema
    replies = case.operation.definition.raw["responses"]
    content = replies.get(str(response.status_code), {}).get("content", {})
    schema = content.get(media_type, {}).get("itemSchema")
    if schema is None or media_type == "text/event-stream":
        return
    validator = jsonschema.Draft202012Validator(schema | {"components": document["components"]})
    for line in response.content.splitlines():
        for error in validator.iter_errors(json.loads(line.lstrip(b"\x1e"))):
            raise AssertionError(error.message)


@load(DOCUMENT).parametrize()
@pytest.mark.parametrize("media_type", MEDIA_TYPES)
# Every run makes the same requests, so that a fault can be reproduced.
@settings(max_examples=15, deadline=None, derandomize=True)
def test_the_tour_is_as_its_document_says(case, media_type, tour, session):
    # Only the server's own ids are valid, which a schema can't express; another id gets a 400 from the
    # handler, which is under `default` in the document.
    foreign_id = "Last-Event-ID" in (case.headers or {})
    case.call_and_validate(
        tour.url(""),
        session,
        headers={"Accept": media_type},
        excluded_checks=[positive_data_acceptance, status_code_conformance] if foreign_id else [],
    )


STREAMS = {
    "ticks": {"query": {"count": 3, "every_ms": 0}},
    "answer": {"body": {"prompt": "a b c", "words_per_second": 1000}},
    "machine": {"query": {"every_ms": 250}},
    "tail": {"query": {"lines": 2}},
}
ITEMS = {"ticks": "Tick", "answer": "Piece", "machine": "Reading", "tail": "Line"}


@pytest.mark.parametrize("media_type", MEDIA_TYPES[:4])
@pytest.mark.parametrize("operation", STREAMS)
def test_a_lie_about_the_items_is_found(tour, operation, media_type):
    """The streams above therefore had items, and each was checked."""
    session = requests.Session()
    # The first sample of the machine takes a while.
    session.mount("http://", Impatient(seconds=1.5))
    document = copy.deepcopy(DOCUMENT)
    item = document["components"]["schemas"][ITEMS[operation]]
    for schema in (item, *item.get("oneOf", [])):
        schema["minProperties"] = 100
    case = load(document).find_operation_by_id(operation).Case(**STREAMS[operation])
    with pytest.raises(schemathesis.errors.FailureGroup, match="properties|not valid under"):
        case.call_and_validate(tour.url(""), session, headers={"Accept": media_type})
