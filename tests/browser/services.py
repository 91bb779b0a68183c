"""Running services for tests that are not on Trio: a thread runs Trio for them."""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx2
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from greeks_trio.config.settings import BROKERS, DatabaseConfig
from tests.fix_postgres import connect
from tests.fix_processes import PATIENCE_S, WAIT_UNTIL, Stage, run_ingest
from tests.fix_proxy import Proxy

TOKEN = "known-only-to-this-test-4b7d"
# Two processors have many tests to run, and a page needs no more to be live.
SMALL = ("--contracts", "24", "--rate", "20")

ALL_HAVE_GREEKS = """
select count(distinct broker) = 2
    and count(*) filter (where delta is not null) = count(*)
from latest_greeks where quantity is not null
"""
# A few of the real book never have Greeks, and the newest tick of some has none.  After five
# minutes the values are stale.
IS_FULL = """
(select count(*) >= 80 from latest_greeks
    where quantity is not null and delta is not null
    and received_at > now() - interval '2 minutes')
and (select count(*) > 17 from latest_market_metrics)
"""
BOTH_HAVE_ROWS = "select count(distinct broker) = 2 from greek_snapshots"


class Service(ABC):
    """A service, and its database.

    Attributes:
        url: Its address.
        token: The one that it asks for, or an empty text.
    """

    def __init__(self, url, token=""):
        self.url = url
        self.token = token

    @abstractmethod
    def connect(self):
        """Return a connection to the database, in autocommit."""

    def fetch(self, query, parameters=()):
        """Return all rows of a query as dictionaries."""
        with (
            self.connect() as connection,
            connection.cursor(row_factory=dict_row) as it,
        ):
            return it.execute(query, parameters).fetchall()

    def has(self, condition):
        """Return whether the SQL condition is true."""
        [row] = self.fetch(f"select ({condition}) as is_true")
        return row["is_true"]

    def wait_until(self, condition):
        """Wait until the SQL condition is true."""
        with self.connect() as connection:
            connection.execute(WAIT_UNTIL.format(condition=condition))

    def ask(self, method, path, **options):
        """Return the JSON of an answer, and fail when the request is refused."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with httpx2.Client(
            base_url=self.url, headers=headers, trust_env=False, timeout=30
        ) as client:
            answer = client.request(method, path, **options)
        assert answer.is_success, answer.text
        return answer.json()

    def wait_connected(self):
        """Wait until every broker is connected, maybe with a shortfall."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._is_connected():
            assert time.monotonic() < deadline, "a broker does not come back"
            time.sleep(0.1)

    def _is_connected(self):
        sessions = self.ask("GET", "/v1/streaming/status")["sessions"]
        return all(each["status"] in {"connected", "degraded"} for each in sessions)

    def stop_feeds(self, brokers=BROKERS):
        """Stop feeds, so that their numbers stand still."""
        self.ask("POST", "/v1/streaming/stop", json={"brokers": list(brokers)})

    def start_feeds(self, brokers=BROKERS):
        """Start feeds; a service does so at most six times a minute."""
        self.ask("POST", "/v1/streaming/start", json={"brokers": list(brokers)})

    @contextmanager
    def at_rest(self, brokers=BROKERS):
        """Stop feeds, and start them again at the end; few tests should do this."""
        self.stop_feeds(brokers)
        try:
            yield
        finally:
            self.start_feeds(brokers)


class Demo(Service):
    """A running ``demo``."""

    def __init__(self, first_line):
        super().__init__(first_line["http"])
        self._dsn = first_line["dsn"]

    def connect(self):
        return psycopg.connect(self._dsn, autocommit=True)


@contextmanager
def open_demo(portal, directory, *arguments, until=ALL_HAVE_GREEKS):
    """Run ``demo`` with the arguments until the block ends."""
    command = ("demo", "--json", "--http", "127.0.0.1:0", *arguments)
    running = run_ingest(*command, cwd=directory)
    with portal.wrap_async_context_manager(running) as process:
        demo = Demo(portal.call(process.read_json))
        demo.wait_until(until)
        try:
            yield demo
        finally:
            # So it removes its database.  Its status tells of ticks that a stopped feed
            # has left on their way.
            portal.call(process.stop, signal.SIGINT)


class Staged(Service):
    """A service with a token, on simulated brokers and a database that can fail."""

    def __init__(self, portal, stage, server, endpoints):
        super().__init__("", TOKEN)
        self._portal = portal
        self._stage = stage
        self._server = server
        self._endpoints = endpoints
        self._running = ExitStack()
        self._bind = "127.0.0.1:0"

    def connect(self):
        return connect(self._stage.database)

    def start(self, **settings):
        """Start the service: the first time at any port, then always at the same."""
        self._stage.configure(
            self._endpoints,
            GREEKS_API_TOKEN=TOKEN,
            GREEKS_HTTP_BIND=self._bind,
            **settings,
        )
        serving = self._portal.wrap_async_context_manager(self._stage.serve())
        self._process = process = self._running.enter_context(serving)
        line = self._portal.call(process.wait_line, "http.listening")
        self._running.callback(self._portal.call, process.stop)
        self._portal.call(process.wait_line, "writer.connected")
        self.url = line.rpartition("url=")[2]
        self._bind = urlsplit(self.url).netloc

    def reload(self):
        """Make the service read its settings and rules again."""
        self._process.send(signal.SIGHUP)

    def stop(self):
        """Stop the service, and wait for its end."""
        self._running.close()

    @contextmanager
    def beside(self, directory, database):
        """Run another service, for an account of the same simulators that holds nothing."""
        empty = {"tastytrade": self._endpoints["tastytrade"]}
        account = empty["tastytrade"]["account_ids"][-1]
        stage = Stage(directory, database)
        service = Staged(self._portal, stage, self._server, empty)
        service.start(TASTYTRADE_ACCOUNTS=account)
        try:
            yield service
        finally:
            service.stop()

    def fail(self, fault):
        """Make the fault ``BROKER:NAME[:ARG]`` happen."""
        url = f"{self._endpoints['control_url']}/faults"
        answer = httpx2.post(url, json={"fault": fault}, trust_env=False)
        assert answer.is_success, answer.text

    @contextmanager
    def without_database(self):
        """End all sessions in the database, and refuse new ones until the block ends."""
        name = self._stage.database.dbname
        allow = sql.SQL("alter database {} allow_connections {}")
        with connect(self._server) as other:
            other.execute(allow.format(sql.Identifier(name), False))
            try:
                other.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = %s",
                    [name],
                )
                yield
            finally:
                other.execute(allow.format(sql.Identifier(name), True))


class Line(Service):
    """The way to a service by a line that can be cut."""

    def __init__(self, portal, service, proxy):
        super().__init__(f"http://127.0.0.1:{proxy.config.server.port}", service.token)
        self._portal = portal
        self._service = service
        self._proxy = proxy

    def connect(self):
        return self._service.connect()

    @contextmanager
    def cut(self):
        """Close all connections, and refuse new ones until the block ends."""
        self._portal.call(self._proxy.go_away)
        yield
        self._portal.call(self._proxy.come_back)


@contextmanager
def open_line(portal, service):
    """Forward to the service until the block ends."""
    address = urlsplit(service.url)
    proxy = Proxy(DatabaseConfig(hosts=(address.hostname,), ports=(address.port,)))
    serving, _ = portal.start_task(proxy.serve)
    yield Line(portal, service, proxy)
    serving.cancel()


@contextmanager
def open_staged(portal, directory, server, database, *arguments):
    """Run simulated brokers until the block ends; the caller starts the service."""
    stage = Stage(directory, database)
    simulating = stage.simulate("--control-port", "0", *(arguments or SMALL))
    with portal.wrap_async_context_manager(simulating) as simulators:
        staged = Staged(portal, stage, server, portal.call(simulators.read_json))
        try:
            yield staged
        finally:
            staged.stop()
