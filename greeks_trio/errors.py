"""Every exception of the product.  An error type names who has to act.

::

    GreeksError
    ├── ConfigError              the operator acts; exit status 2
    ├── BrokerError
    │   ├── FeedInterrupted      the supervisor acts: reconnects with backoff
    │   │   ├── FeedSilent       the same; the gap has the reason `silence`
    │   │   └── SessionLost      the same; the gap has the reason `session lost`
    │   ├── CredentialsRejected  the operator acts: the feed stays down until SIGHUP or a start request
    │   └── ProtocolViolation    the feed acts: counts it, keeps the frame, reads on
    ├── BadQuote                 nobody acts: the quote is counted and dropped
    ├── SpoolUnavailable         the spooler acts: keeps the ticks in memory, tries again
    └── StoreError
        ├── StoreUnavailable     the writer acts: the same rows are offered again
        ├── StoreRejected        the writer acts: isolates the rows and counts them
        ├── SchemaRejected       the operator acts; exit status 4
        ├── ReadsBusy            the one who asked acts: asks again a little later
        └── ReadTooLong          the one who asked acts: asks for less
"""

from __future__ import annotations

from collections.abc import Collection, Iterator


class GreeksError(Exception):
    """Something that this program expects to go wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class ConfigError(GreeksError):
    """The configuration has problems.

    Attributes:
        problems: One sentence for each problem, in the order of the variables.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class BrokerError(GreeksError):
    """A broker did something that ends or disturbs its feed."""


class FeedInterrupted(BrokerError):
    """The connection to the broker ended; another one may work.

    Attributes:
        retry_after: Seconds before which the broker does not want to see us
            again, `None` when it did not say.
        http_status: The status of the HTTP answer at fault, `None` without one.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.http_status = http_status


class FeedSilent(FeedInterrupted):
    """The connection was open, but nothing came for too long."""


class SessionLost(FeedInterrupted):
    """The broker ended the login session, or another program took it over."""


class CredentialsRejected(BrokerError):
    """The broker refused the configured credentials."""


class ProtocolViolation(BrokerError):
    """A frame is not what the broker's protocol allows.

    Attributes:
        reason: A short stable word to count it by, such as ``not-json``.
        frame: The frame as it was read.
    """

    def __init__(self, reason: str, *, frame: str | bytes) -> None:
        super().__init__(f"odd frame: {reason}")
        self.reason = reason
        self.frame = frame


class BadQuote(GreeksError):
    """A quote holds nothing that can be stored.

    Attributes:
        reason: A short stable word to count it by.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"bad quote: {reason}")
        self.reason = reason


class SpoolUnavailable(GreeksError):
    """The disk does not take or give what it should; it may later."""


class StoreError(GreeksError):
    """PostgreSQL did not take something.

    Attributes:
        sqlstate: PostgreSQL's five-character code, `None` when there is none.
    """

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class StoreUnavailable(StoreError):
    """The database cannot be reached or gave up; the same rows may be offered again.

    Attributes:
        needs_person: Whether it will stay so until somebody mends it.
    """

    def __init__(
        self, message: str, *, sqlstate: str | None = None, needs_person: bool = False
    ) -> None:
        super().__init__(message, sqlstate=sqlstate)
        self.needs_person = needs_person


class StoreRejected(StoreError):
    """PostgreSQL refuses these rows and will refuse them again.

    Attributes:
        rows: Positions in what was offered of those that are known to be at fault;
            empty when any of them may be.
    """

    def __init__(
        self,
        message: str,
        *,
        sqlstate: str | None = None,
        rows: Collection[int] = (),
    ) -> None:
        super().__init__(message, sqlstate=sqlstate)
        self.rows = frozenset(rows)


class SchemaRejected(StoreError):
    """The schema is newer than this program, or the database refused a migration."""


class ReadsBusy(StoreError):
    """As many reads are under way as may be."""


class ReadTooLong(StoreError):
    """PostgreSQL was stopped because it took too long to answer."""


def leaves(exc: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions inside a group, or the exception itself."""
    if isinstance(exc, BaseExceptionGroup):
        for each in exc.exceptions:
            yield from leaves(each)
    else:
        yield exc


def plain_reason(exc: BaseException) -> str:
    """Return what went wrong in one line, for groups what went wrong inside.

    Only the message for our own errors, which are written for people; the type and the
    message for all others.
    """
    return "; ".join(dict.fromkeys(map(_sentence, leaves(exc))))


def _sentence(exc: BaseException) -> str:
    message = " ".join(str(exc).split())
    if isinstance(exc, GreeksError):
        return message
    return f"{type(exc).__name__}: {message}" if message else type(exc).__name__
