"""Every exception of the product.  The type says which part of the program acts on it.

::

    GreeksError
    ├── ConfigError              the operator acts; exit status 2
    ├── BrokerError
    │   ├── FeedInterrupted      the supervisor acts: reconnects with backoff
    │   │   ├── FeedSilent       the same; the gap has the reason `silence`
    │   │   └── SessionLost      the same; the gap has the reason `session lost`
    │   ├── CredentialsRejected  the operator acts: the feed stays down until SIGHUP or a start request
    │   └── ProtocolViolation    the feed acts: counts it, keeps the frame, reads on
    ├── BadQuote                 the feed acts: counts the quote and drops it
    ├── ArchiveFailed            the operator acts: the month stays as it is
    ├── SpoolUnavailable         the spooler acts: keeps the ticks in memory, tries again
    ├── WorkerError
    │   ├── WorkerBusy           the client of the API acts: asks again a little later
    │   ├── WorkerFailed         the next job acts: it starts another process
    │   ├── JobTooLong           the client of the API acts: asks for less
    │   └── JobRefused           the client of the API acts: changes the request
    └── StoreError
        ├── StoreUnavailable     the writer acts: the same rows are offered again
        ├── StoreRejected        the writer acts: isolates the rows and counts them
        ├── PartitionMissing     the writer acts: these rows wait on disk, the others go on
        ├── GapUndecided         the journal acts: the gap waits a little
        ├── SchemaRejected       the operator acts; exit status 4
        ├── ReadsBusy            the client of the API acts: asks again a little later
        └── ReadTooLong          the client of the API acts: asks for less
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from greeks_trio.foreign_text import clean, mask, remove_controls

# The most characters of one error in a line.
_LONGEST: Final = 2_000
_ERROR_NUMBER: Final = re.compile(r"\[Errno -?\d+\] ")


class GreeksError(Exception):
    """An error that this program expects.

    Its message may quote a broker, a server or a user, so it has neither secrets nor
    control characters.
    """

    def __init__(self, message: str | None = None) -> None:
        super().__init__(mask(remove_controls(message or self.__doc__ or "")))


class ConfigError(GreeksError):
    """The configuration has problems.

    Attributes:
        problems: One sentence for each problem, in the order of the settings.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class BrokerError(GreeksError):
    """The broker ended or disturbed its feed."""


class FeedInterrupted(BrokerError):
    """The connection to the broker ended; another one may work.

    Attributes:
        retry_after: The seconds that the broker asked to wait, `None` if it did not.
        http_status: The status of the HTTP response that is the cause, `None` if the
            cause is another one.
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
    """The broker refused the configured credentials.

    Attributes:
        worked_before: Whether the broker has accepted the same credentials in this run.
            Then the refusal may be a mistake of the broker, and a few more tries follow.
    """

    def __init__(self, message: str, *, worked_before: bool = False) -> None:
        super().__init__(message)
        self.worked_before = worked_before


class ProtocolViolation(BrokerError):
    """A frame breaks the protocol of the broker.

    Attributes:
        reason: A short stable word for the counter, such as ``not-json``.
        frame: The frame as it was read.
    """

    def __init__(self, reason: str, *, frame: str | bytes) -> None:
        super().__init__(f"odd frame: {reason}")
        self.reason = reason
        self.frame = frame


class BadQuote(GreeksError):
    """A quote has no values that can be stored.

    Attributes:
        reason: A short stable word for the counter.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"bad quote: {reason}")
        self.reason = reason


class ArchiveFailed(GreeksError):
    """A month could not be archived, loaded or dropped; nothing was lost."""


class SpoolUnavailable(GreeksError):
    """The spool cannot write to the disk or read from it; it may work later."""


class WorkerError(GreeksError):
    """The worker did not do a job."""


class WorkerBusy(WorkerError):
    """The worker has enough jobs."""


class WorkerFailed(WorkerError):
    """The worker did not start, or ended during the job."""


class JobTooLong(WorkerError):
    """A job took too long and was ended."""


class JobRefused(WorkerError):
    """The job cannot be done with these values."""


class StoreError(GreeksError):
    """PostgreSQL did not carry out a request.

    Attributes:
        sqlstate: The five-character code of PostgreSQL, `None` if there is none.
    """

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class StoreUnavailable(StoreError):
    """The database cannot be reached or stopped; the same rows may be offered again.

    Attributes:
        needs_person: Whether a person has to fix the cause first.
    """

    def __init__(
        self, message: str, *, sqlstate: str | None = None, needs_person: bool = False
    ) -> None:
        super().__init__(message, sqlstate=sqlstate)
        self.needs_person = needs_person


class StoreRejected(StoreError):
    """PostgreSQL refuses at least one of these rows and will refuse it again."""


class PartitionMissing(StoreError):
    """Some rows have no partition, and none can be made at present.

    Attributes:
        rows: The indexes of these rows.
        reasons: PostgreSQL's reason for each month, by the name of its partition.
    """

    def __init__(self, *, rows: Collection[int], reasons: Mapping[str, str]) -> None:
        super().__init__(
            "; ".join(f"{name} is missing: {why}" for name, why in reasons.items())
        )
        self.rows = frozenset(rows)
        self.reasons = dict(reasons)


class GapUndecided(StoreError):
    """It is not known yet whether another service had the feed."""


class SchemaRejected(StoreError):
    """The schema does not fit this program, or the database refused a migration."""


class ReadsBusy(StoreError):
    """The highest number of reads is under way."""


class ReadTooLong(StoreError):
    """A read took too long and was cancelled."""


def leaves(exc: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions inside a group, or the exception itself."""
    if isinstance(exc, BaseExceptionGroup):
        for each in exc.exceptions:
            yield from leaves(each)
    else:
        yield exc


def plain_reason(exc: BaseException) -> str:
    """Return the error in one line; for a group, the errors inside it.

    Our own errors have a message for people, so only the message is given.  For all other
    errors it is the type and the message.
    """
    return "; ".join(dict.fromkeys(map(_sentence, leaves(exc))))


def plain_text(text: str) -> str:
    """Return the text in one line, without secrets and without Python's error numbers."""
    return clean(_ERROR_NUMBER.sub("", " ".join(text.split())), limit=_LONGEST)


def _sentence(exc: BaseException) -> str:
    message = plain_text(str(exc))
    if isinstance(exc, GreeksError):
        return message
    return f"{type(exc).__name__}: {message}" if message else type(exc).__name__
