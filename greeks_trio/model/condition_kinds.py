"""Every fault of the service that is no fault of a feed, with its explanation."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Severity(StrEnum):
    """How a condition changes the health of the service."""

    # The service is not ready: ticks are not committed, or their values may be wrong.
    NOT_READY = "not ready"
    # The service does its main work, and a person has to act.
    DEGRADED = "degraded"
    # A person should know it; nothing is wrong.
    NOTE = "note"


class ConditionKind(StrEnum):
    """A fault of the database, the disk or this machine.

    Attributes:
        severity: How it changes the health of the service.
        explanation: One sentence for the documentation.
        remedy: One sentence: the action of a person.
    """

    severity: Severity
    explanation: str
    remedy: str

    def __new__(
        cls, value: str, severity: Severity, explanation: str, remedy: str
    ) -> Self:
        """Make a member of its name, its severity and the sentences that explain it."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.severity = severity
        member.explanation = explanation
        member.remedy = remedy
        return member

    SPOOL_UNAVAILABLE = (
        "spool unavailable",
        Severity.DEGRADED,
        "The disk of the spool refuses data, so ticks are lost if the database is away"
        " for longer than the memory lasts, or if the service is killed.",
        "Read the reason in the status, and make room on the disk or repair it.",
    )
    PARTITION_MISSING = (
        "partition missing",
        Severity.NOT_READY,
        "A month of ticks has no partition and none can be made. Its ticks wait in the"
        " spool, and the ticks of all other months are stored.",
        "Read PostgreSQL's reason in the status, and make the partition or let the role"
        " make it. The ticks are stored within a minute after that.",
    )
    PART_FAILED = (
        "part failed",
        Severity.NOT_READY,
        "A part of the service ended with an error that it does not know. It starts again"
        " by itself, and keeps its ticks.",
        "Read the traceback in the log and report it.",
    )
    ALERTS_NOT_SENT = (
        "alerts not sent",
        Severity.DEGRADED,
        "A channel of `GREEKS_ALERT_URLS` does not take the messages.",
        "Read the reason in the status, and try again with `alerts --test`.",
    )
    LIMITS_NOT_WATCHED = (
        "limits not watched",
        Severity.DEGRADED,
        "The limits of `alerts.toml` could not be read from the database, or their states "
        "could not be written, for a minute.",
        "Read PostgreSQL's reason in the status. Rules that are not known for long send a "
        "message about it.",
    )
    ALERT_RULES_REFUSED = (
        "alert rules refused",
        Severity.DEGRADED,
        "The changed `alerts.toml` has problems, so the rules before it stay in force.",
        "Read the problems in the log or with `check`, correct the file, and send SIGHUP.",
    )
    BETAS_REFUSED = (
        "betas refused",
        Severity.DEGRADED,
        "The changed file of `GREEKS_BETAS_FILE` has problems, so the betas before it stay in "
        "force.",
        "Read the problems in the log or with `check`, correct the file, and send SIGHUP.",
    )
    JOURNAL_STUCK = (
        "journal stuck",
        Severity.NOT_READY,
        "Positions and gaps have not been stored for a minute, although some wait.",
        "Read the reason in the status; it is PostgreSQL's own message.",
    )
    LOOP_STUCK = (
        "loop stuck",
        Severity.NOT_READY,
        "A part of the service has work and has made no step for minutes.",
        "Save the log and restart the service; under systemd, its watchdog does that.",
    )
    REPLICA_BEHIND = (
        "replica behind",
        Severity.DEGRADED,
        "The replica that answers the reads is more than 10 s behind the primary, or does "
        "not tell its lag. Sums and history are as old; ticks are stored as usual.",
        "Look at the replication of the replica, or remove it from GREEKS_READ_HOST.",
    )
    ACCOUNTS_NOT_STORED = (
        "accounts not stored",
        Severity.DEGRADED,
        "This service reads accounts that the holder of the lease does not read. Their "
        "ticks are stored, and their positions and account values are not.",
        "Give the logins of both services the same accounts, or each service a schema of "
        "its own (GREEKS_DB_SCHEMA).",
    )
    NAME_IN_USE = (
        "name in use",
        Severity.DEGRADED,
        "Another service on this database has the name of this one, so each takes the "
        "leases from the other one, and gaps may be missing or false.",
        "Give the machines, or the directories of the spools (GREEKS_SPOOL_DIR), "
        "different names, and restart.",
    )
    DISK_NEARLY_FULL = (
        "disk nearly full",
        Severity.DEGRADED,
        "Little is left on the disk of the spool or of the bundled PostgreSQL, or the"
        " growth fills the latter within two weeks.",
        "Make room, or set GREEKS_KEEP_MONTHS and GREEKS_KEEP_PAYLOAD_MONTHS.",
    )
    RETENTION_FAILED = (
        "retention failed",
        Severity.DEGRADED,
        "Months that are due could not be archived or dropped. They are still in the"
        " database or in their files.",
        "Read the reason in the status, and run the command archive --run after that.",
    )
    ESTIMATES_FAILED = (
        "estimates failed",
        Severity.DEGRADED,
        "Estimates of Greeks cannot be computed or stored. The last ones leave their views when "
        "their inputs are stale. The values of the brokers are stored as usual.",
        "Read the reason in the status; without GREEKS_ESTIMATES there are none.",
    )
    CLOCK_DIFFERS = (
        "clock differs",
        Severity.NOT_READY,
        "The clocks of this machine and of the database differ by more than "
        "GREEKS_CLOCK_LIMIT_S. Times of a wrong clock of this machine are corrected.",
        "Set the clock that the status names, and let it follow a time server.",
    )
    BROKER_CLOCK_DIFFERS = (
        "broker clock differs",
        Severity.DEGRADED,
        "A broker's clock differs from those of this machine and the database.",
        "Compare the clock of this machine with a time server; if it is right, tell the "
        "broker.",
    )
    DATABASE_CHANGED = (
        "database changed",
        Severity.NOTE,
        "The address leads to another database, or its tables were made anew or emptied. "
        "Positions, open gaps and latest ticks are told again.",
        "Make sure that this is intended; rows of the time before are in the other "
        "database or a backup.",
    )
    PARTITIONS_AHEAD_MISSING = (
        "partitions ahead missing",
        Severity.DEGRADED,
        "The next month has no partition and it cannot be made. From its first day on, "
        "ticks would wait in the spool.",
        "Run the statements that the status shows, or let the role make tables.",
    )
    SCHEMA_DAMAGED = (
        "schema damaged",
        Severity.NOT_READY,
        "Tables, keys, indexes, views or functions are not those that the migrations made. "
        "Without the primary key, ticks that are offered again wait on the disk.",
        "Run `bin/run-ingest migrate --repair`, then follow the status for the rest.",
    )
    SCHEMA_DIFFERS = (
        "schema differs",
        Severity.DEGRADED,
        "An index is missing, or a table has something that this program does not know and "
        "that changes its rows, such as a trigger or a default partition, or a newer version "
        "has added to the schema.",
        "Read the status; `bin/run-ingest migrate --repair` makes a missing index again. During "
        "an upgrade, go on with it: the page Upgrade of the documents has the steps.",
    )
