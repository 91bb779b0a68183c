"""The declared lists: their names, and the tables of the client for scripts."""

from __future__ import annotations

from greeks_trio import client
from greeks_trio.api.lists.resources import RESOURCES


def test_the_client_knows_every_list():
    assert {each.name: each.path for each in RESOURCES} == client._PATHS


def test_no_two_lists_share_a_name_a_path_or_a_file():
    for value in ("name", "path", "file_name"):
        values = [getattr(each, value) for each in RESOURCES]

        assert len(set(values)) == len(RESOURCES)


def test_every_key_of_an_order_is_a_column():
    for each in RESOURCES:
        names = {column.name for column in each.columns}

        assert {key.name for key in each.keys} <= names, each.name


def test_an_example_has_no_null():
    for each in RESOURCES:
        assert None not in [column.example for column in each.columns], each.name
