"""The hub's OpenAPI documents, checked by third-party tools."""

import pytest
import requests

from hub import Hub
from test_openapi import (  # noqa: F401
    document,
    test_a_document_is_valid_by_the_official_schema_of_its_version,
    test_a_document_is_valid_for_openapi_spec_validator,
    test_a_document_is_valid_for_the_parser_of_scalar,
    test_redocly_finds_no_fault_in_a_document,
    test_the_document_without_a_version_is_that_of_3_2,
    version,
)


@pytest.fixture(scope="module")
def tour():
    """The same tests, with another document."""
    with Hub() as hub:
        yield hub


def test_it_describes_every_operation_on_a_stream(tour, version):  # noqa: F811
    document = requests.get(tour.url(f"/openapi.json?version={version}"), timeout=10).json()
    methods = document["paths"]["/streams/{path}"]
    assert {"get", "head", "put", "post", "delete"} <= methods.keys()
