"""The messages to systemd, over a real socket."""

import socket

import pytest
import trio

from greeks_trio.monitoring.systemd import Notifier, run_systemd_notify


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """The socket of a service manager, and the value of NOTIFY_SOCKET for it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(5)
        if request.param == "path":
            address = str(tmp_path / "notify")
            listener.bind(address)
        else:
            address = f"@greeks-test-{tmp_path.name}-{id(tmp_path)}"
            listener.bind(f"\0{address[1:]}")
        yield listener, address


def received(listener):
    """Return every message so far, each as a dictionary."""
    messages = []
    listener.setblocking(False)
    while True:
        try:
            text = listener.recv(4096).decode()
        except BlockingIOError:
            return messages
        messages.append(dict(line.split("=", 1) for line in text.splitlines()))


async def test_ready_then_the_watchdog_then_stopping(manager, autojump_clock):
    listener, address = manager
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000000", "PATH": "/x"}
    notifier = Notifier(environment)
    stop, stuck = trio.Event(), False

    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            run_systemd_notify, notifier, lambda: "healthy", lambda: stuck, stop
        )
        await trio.sleep(19)
        first = received(listener)
        stuck = True
        await trio.sleep(100)
        while_stuck = received(listener)
        stuck = False
        stop.set()
        await trio.sleep(9)
        last = received(listener)
        nursery.cancel_scope.cancel()

    assert environment == {"PATH": "/x"}
    assert first[0] == {"READY": "1", "STATUS": "healthy"}
    # Every 8 of 20 seconds: at 0, 8 and 16.
    assert [each.get("WATCHDOG") for each in first[1:]] == ["1"] * 3
    assert while_stuck
    assert all("WATCHDOG" not in each for each in while_stuck)
    assert {"STOPPING": "1", "STATUS": "storing the remaining ticks"} in last
    assert any(each.get("WATCHDOG") == "1" for each in last)


async def test_without_systemd_it_returns_at_once():
    notifier = Notifier({})

    with trio.fail_after(1):
        await run_systemd_notify(notifier, lambda: "", lambda: False, trio.Event())

    assert not notifier.is_wanted
    assert notifier.watchdog_s is None


def test_the_watchdog_of_another_process_is_not_ours():
    environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "7"}

    assert Notifier(dict(environment), pid=8).watchdog_s is None
    assert Notifier(dict(environment), pid=7).watchdog_s == 0.001


def test_a_manager_that_is_gone_costs_nothing(tmp_path, caplog):
    caplog.set_level("DEBUG")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).send(WATCHDOG=1)

    assert "systemd.not_told" in caplog.text
