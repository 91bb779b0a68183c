"""The files for systemd and for containers."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import yaml

from docs.tools.blocks import read_blocks
from greeks_trio.commands import deployment
from greeks_trio.commands.deployment import FILES, write_deployment
from greeks_trio.config.names import SECRETS
from tests.scratch_root import build, can_make_roots

ROOT = Path(__file__).parents[2]
DEPLOYMENT = ROOT / "greeks_trio/deployment"
# The worst exposure level that `systemd-analyze security` may find, of 10.
EXPOSURE = 1.5
# Installing the packages takes long on a machine without a cache of pip.
pytestmark = pytest.mark.timeout(500)


@pytest.mark.parametrize("name", [deployment.UNIT, deployment.TEMPLATE])
def test_the_unit_starts_this_program_and_is_hardened(tmp_path, name):
    assert write_deployment("systemd", tmp_path, force=False) == 0

    unit = tmp_path / name
    text = unit.read_text()
    assert f"ExecStart={ROOT}/bin/run-ingest serve\n" in text
    assert "/usr/local/bin" not in text
    assert "RestartPreventExitStatus=2 3 4\n" in text
    assert sorted(re.findall(r"LoadCredential=(\w+):", text)) == sorted(SECRETS)
    # A library may make a call that the filter refuses.
    assert "SystemCallErrorNumber=EPERM\n" in text
    if shutil.which("systemd-analyze") is None:
        return
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    security = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    [level] = re.findall(r"exposure level for .*: ([\d.]+)", security.stdout)
    assert float(level) <= EXPOSURE


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is needed")
def test_the_drop_in_of_the_documents_makes_the_unit_one_of_a_fleet(tmp_path):
    write_deployment("systemd", tmp_path, force=False)
    page = (ROOT / "docs/scale.md").read_text()
    [drop_in] = [each.text for each in read_blocks(page) if each.language == "ini"]
    path = tmp_path / f"{deployment.UNIT}.d" / "override.conf"
    path.parent.mkdir()
    path.write_text(drop_in.replace("/opt/greeks_trio", str(ROOT)))

    verified = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / deployment.UNIT],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (verified.returncode, verified.stderr) == (0, "")
    # They would lead every service to the same file and the same spool.
    unit = (tmp_path / deployment.UNIT).read_text()
    variables = re.findall(r"^Environment=(GREEKS_\w+)=", unit, re.MULTILINE)
    assert f"UnsetEnvironment={' '.join(variables)}\n" in drop_in


def test_each_instance_of_the_template_has_files_of_its_own(tmp_path):
    write_deployment("systemd", tmp_path, force=False)

    text = (tmp_path / deployment.TEMPLATE).read_text()
    settings = re.findall(r"^(?!#)(\w+)=(.*greeks-trio.*)$", text, re.MULTILINE)
    paths = [value for name, value in settings if re.search("/etc/|%S|^greeks", value)]
    assert len(paths) > 8
    for path in set(paths) - {"greeks-trio"}:  # the user
        assert "%i" in path


@pytest.mark.parametrize(
    ("program", "start", "hidden"),
    [
        ("/opt/greeks trio/50%/run", '"/opt/greeks trio/50%%/run" serve', None),
        (
            "/home/me/greeks/bin/run-ingest",
            "/home/me/greeks/bin/run-ingest serve",
            "/home",
        ),
        ("/root/bin/greeks-trio", "/root/bin/greeks-trio serve", "/root"),
    ],
)
def test_a_program_that_systemd_would_not_find_is_named(
    tmp_path, monkeypatch, capsys, program, start, hidden
):
    monkeypatch.setattr(deployment, "program_path", lambda: Path(program))

    write_deployment("systemd", tmp_path, force=False)

    assert f"\nExecStart={start}\n" in (tmp_path / deployment.UNIT).read_text()
    said = capsys.readouterr().err
    assert (f"hides {hidden} from it" in said) if hidden else not said


def test_a_file_of_somebody_else_is_replaced_only_by_force(tmp_path, capsys):
    unit = tmp_path / "greeks-trio.service"
    unit.write_text("mine")

    refused = write_deployment("systemd", tmp_path, force=False)
    kept = unit.read_text()
    replaced = write_deployment("systemd", tmp_path, force=True)
    again = write_deployment("systemd", tmp_path, force=False)

    assert (refused, kept) == (1, "mine")
    assert "Add --force" in capsys.readouterr().err
    assert (replaced, again) == (0, 0)
    assert unit.read_text().startswith("# The service greeks_trio")


def test_the_compose_file_names_only_files_that_are_written(tmp_path):
    assert write_deployment("compose", tmp_path, force=False) == 0

    compose = yaml.safe_load((tmp_path / "compose.yml").read_text())
    services = compose["services"]
    assert set(services) == {"postgres", "greeks-trio", "prometheus", "grafana"}
    mounted = [
        volume.split(":")[0]
        for service in services.values()
        for volume in service["volumes"]
    ]
    files = [name for name in mounted if name.startswith("./")]
    assert {name.removeprefix("./") for name in files} == set(FILES["compose"]) - {
        "compose.yml"
    }
    assert set(mounted) - set(files) == set(compose["volumes"])
    for service in services.values():
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert services["greeks-trio"]["read_only"] is True
    build_of = services["greeks-trio"]["build"]
    assert (ROOT / build_of["dockerfile"]).exists()
    for name in ("prometheus.yml", "grafana/datasource.yml", "grafana/dashboards.yml"):
        assert yaml.safe_load((tmp_path / name).read_text())


@pytest.mark.skipif(not can_make_roots(), reason="only root can make a scratch root")
def test_the_image_runs_without_root_on_a_read_only_system(tmp_path):
    """The steps of the Containerfile run, then the service, as an engine does it."""
    image = build(DEPLOYMENT / "Containerfile", ROOT, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = image.variables(
        GREEKS_API_TOKEN="a-token-of-the-container-test",
        GREEKS_HTTP_BIND=f"0.0.0.0:{port}",
        POSTGRES_HOST="127.0.0.1",
        POSTGRES_PORT="1",
        TASTYTRADE_ENABLED="true",
        TASTYTRADE_API_URL="http://127.0.0.1:1",
        TT_SECRET="a-secret-of-the-container-test",
        TT_REFRESH="a-refresh-of-the-container-test",
    )
    check = [word.replace("8080", str(port)) for word in image.health_check]
    service = subprocess.Popen(
        image.arguments(*image.entrypoint, *image.command, read_only=True),
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    with service:
        assert service.stderr is not None
        lines = []
        for line in service.stderr:
            lines.append(line)
            if "http.listening" in line:
                break
        healthy = subprocess.run(check, env=environment, check=False).returncode
        status = Path(f"/proc/{service.pid}/status").read_text()
        service.send_signal(signal.SIGTERM)
        lines += service.stderr

    assert service.returncode == 0, "".join(lines)
    assert healthy == 0
    assert re.search(r"^Uid:\t10001\t10001\t10001", status, re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert (image.written / "var/lib/greeks-trio/spool").is_dir()
    assert "Traceback" not in "".join(lines)
