"""The tour's OpenAPI documents, checked by third-party tools."""

import pytest
import requests
from openapi_spec_validator import OpenAPIV31SpecValidator, OpenAPIV32SpecValidator

from programs import NODE_FOLDER, run_node

VALIDATORS = {"3.1": OpenAPIV31SpecValidator, "3.2": OpenAPIV32SpecValidator}


@pytest.fixture(params=VALIDATORS)
def version(request):
    return request.param


@pytest.fixture
def document(tour, version):
    """The document's text."""
    response = requests.get(tour.url(f"/openapi.json?version={version}"), timeout=10)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.json()["openapi"].startswith(version + ".")
    return response.text


def test_the_document_without_a_version_is_that_of_3_2(tour):
    response = requests.get(tour.url("/openapi.json"), timeout=10)
    assert response.json()["openapi"].startswith("3.2.")


def test_a_document_is_valid_by_the_official_schema_of_its_version(document, version):
    check = run_node("check_schema.mjs", version, input=document)
    assert check.returncode == 0, check.stdout + check.stderr


def test_a_document_is_valid_for_openapi_spec_validator(tour, version):
    url = tour.url(f"/openapi.json?version={version}")
    document = requests.get(url, timeout=10).json()
    assert not list(VALIDATORS[version](document, base_uri=url).iter_errors())


def test_a_document_is_valid_for_the_parser_of_scalar(document):
    check = run_node("check_scalar.mjs", input=document)
    assert check.returncode == 0, check.stdout + check.stderr


def test_redocly_finds_no_fault_in_a_document(document, tmp_path):
    path = tmp_path / "openapi.json"
    path.write_text(document)
    config = NODE_FOLDER / "redocly.yaml"
    lint = run_node(
        "bin/cli.js", "lint", path, "--config", config, "--format", "stylish", package="@redocly/cli"
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr
