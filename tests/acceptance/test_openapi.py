"""The HTTP interface does what its OpenAPI description says, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.acceptance.api_stage import TOKEN, serving

pytestmark = pytest.mark.timeout(300)

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
PROBLEM = {"$ref": "#/components/schemas/Problem"}

# The exceptions where the rules of schemathesis are stricter than a description can be.
CONFIG = """
# These come at once; without feeds there may be no others.
max-stream-events = 3
request-timeout = 30

[generation]
deterministic = true
max-examples = {examples}
database = "none"

[auth.openapi]
token = {{ bearer = "{token}" }}

# An address or a head beyond our limit is refused before the parameters are checked.
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 409, 414, 415, 422, 431]

# Not ready is a valid answer, and the run itself has stopped the feeds.
[[operations]]
include-path = "/readyz"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", 503]

# A cursor has to come from an earlier page; an invented one is refused.  So is a text
# that names no contract, or no numbers.
[[operations]]
include-name-regex = "^GET /v1/(greeks/.*|accounts/.*|market-metrics|positions|portfolio(/.*)?|risk/.*|position-tags|divergence|gaps|outages|trades|alerts.*|stream)$"
checks.positive_data_acceptance.expected-statuses = [200, 422, 503]

# A schema cannot bound the decimals of a number; 409 is another trade of the same id.
[[operations]]
include-name = "POST /v1/trades"
checks.positive_data_acceptance.expected-statuses = [200, 201, 409, 422, 503]

# An invented position has no tag.
[[operations]]
include-name-regex = "^(PUT|DELETE) /v1/position-tags$"
checks.positive_data_acceptance.expected-statuses = [200, 201, 204, 404, 422, 503]
"""


def operations(description):
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def resolve(description, node):
    while "$ref" in node:
        found = description
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def empty_descriptions(node, path=""):
    if isinstance(node, dict):
        if node.get("description") == "":
            yield path
        for name, value in node.items():
            yield from empty_descriptions(value, f"{path}/{name}")
    elif isinstance(node, list):
        for value in node:
            yield from empty_descriptions(value, f"{path}/*")


def has_example(node):
    if isinstance(node, dict):
        return bool(node.keys() & {"example", "examples"}) or any(
            map(has_example, node.values())
        )
    return isinstance(node, list) and any(map(has_example, node))


def assert_is_complete(description):
    for reference in references(description):
        assert resolve(description, reference)
    assert list(empty_descriptions(description)) == []
    names = [each["operationId"] for *_, each in operations(description)]
    assert sorted(names) == sorted(set(names))
    tags = {each["name"]: each["description"] for each in description["tags"]}
    for method, path, operation in operations(description):
        about = f"{method} {path}"
        assert operation["description"], about
        # The documentation shows it beside the path.
        plain = " ".join(operation["description"].replace("`", "").split())
        assert plain.startswith(f"{operation['summary']}."), about
        for parameter in operation.get("parameters", ()):
            # The words of JSON Schema; an address has no null.
            assert not parameter["schema"].keys() & {"anyOf", "ge", "le"}, about
        assert all(tags[tag] != tag for tag in operation["tags"]), about
        # Every other path refuses a request without the token.
        is_open = path in {"/livez", "/v1/session"}
        assert (operation.get("security") == []) is is_open, about
        assert {"400", "403", "413", "500"} <= operation["responses"].keys(), about
        for status, answer in operation["responses"].items():
            content = resolve(description, answer).get("content", {})
            if status < "300" and content:
                assert all(map(has_example, content.values())), f"{about} {status}"
            elif status >= "400" and (path, status) != ("/readyz", "503"):
                assert content == {"application/problem+json": {"schema": PROBLEM}}, (
                    f"{about} {status}"
                )


async def test_the_description_is_complete_and_schemathesis_finds_nothing(
    stage, tmp_path
):
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.format(token=TOKEN, examples=5))
    async with serving(stage) as (_, client):
        description = (await client.get("/openapi.json")).json()
        assert_is_complete(description)
        found = await trio.run_process(
            [
                SCHEMATHESIS,
                f"--config-file={config}",
                "run",
                str(client.base_url.join("/openapi.json")),
                f"--header=Authorization: Bearer {TOKEN}",
                "--checks=all",
                "--no-color",
            ],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=tmp_path,
        )

    assert found.returncode == 0, found.stdout.decode()
