from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest

from greeks_trio.simulators.server.certificates import open_certificate


def shake_hands(certificate):
    """Finish a TLS handshake in memory; raises the client's error."""
    client = ssl.create_default_context(cafile=certificate.authority_file)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    theirs = certificate.server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [ours, theirs]
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
    assert not waiting


def test_a_client_that_trusts_the_file_is_let_in(tmp_path):
    with open_certificate(tmp_path) as certificate:
        shake_hands(certificate)


def test_it_is_the_same_at_every_start(tmp_path):
    with open_certificate(tmp_path) as first:
        pem = first.authority_file.read_bytes()
    with open_certificate(tmp_path) as second:
        assert second.authority_file.read_bytes() == pem
        shake_hands(second)


def test_only_its_owner_can_read_the_key(tmp_path):
    with open_certificate(tmp_path) as certificate:
        mode = certificate.authority_file.parent.stat().st_mode

    assert stat.S_IMODE(mode) == 0o700


def test_a_damaged_one_is_made_anew(tmp_path):
    with open_certificate(tmp_path) as certificate:
        damaged = certificate.authority_file.with_name("server.pem")
    damaged.write_text("not a key")

    with open_certificate(tmp_path) as certificate:
        shake_hands(certificate)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_without_a_cache_it_lasts_as_long_as_it_is_open(tmp_path, name):
    (tmp_path / "file").write_text("in the way")

    with open_certificate(tmp_path / name) as certificate:
        shake_hands(certificate)
    assert not certificate.authority_file.exists()


def test_a_user_without_a_home_gets_one_for_this_run(monkeypatch):
    def no_home(_path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)

    with open_certificate() as certificate:
        shake_hands(certificate)
    assert not certificate.authority_file.exists()
