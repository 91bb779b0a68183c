// Made by `bin/docs write` from greeks_trio/model/condition_kinds.py and gap_reasons.py.
// Edit those instead.

/** The conditions of the service: `severity`, `meaning` and `remedy` by kind. */
export const CONDITIONS = {
  "spool unavailable": {
    "severity": "degraded",
    "meaning": "The disk of the spool refuses data, so ticks are lost if the database is away for longer than the memory lasts, or if the service is killed.",
    "remedy": "Read the reason in the status, and make room on the disk or repair it."
  },
  "partition missing": {
    "severity": "not ready",
    "meaning": "A month of ticks has no partition and none can be made. Its ticks wait in the spool, and the ticks of all other months are stored.",
    "remedy": "Read PostgreSQL's reason in the status, and make the partition or let the role make it. The ticks are stored within a minute after that."
  },
  "part failed": {
    "severity": "not ready",
    "meaning": "A part of the service ended with an error that it does not know. It starts again by itself, and keeps its ticks.",
    "remedy": "Read the traceback in the log and report it."
  },
  "alerts not sent": {
    "severity": "degraded",
    "meaning": "A channel of `GREEKS_ALERT_URLS` does not take the messages.",
    "remedy": "Read the reason in the status, and try again with `alerts --test`."
  },
  "limits not watched": {
    "severity": "degraded",
    "meaning": "The limits of `alerts.toml` could not be read from the database, or their states could not be written, for a minute.",
    "remedy": "Read PostgreSQL's reason in the status. Rules that are not known for long send a message about it."
  },
  "alert rules refused": {
    "severity": "degraded",
    "meaning": "The changed `alerts.toml` has problems, so the rules before it stay in force.",
    "remedy": "Read the problems in the log or with `check`, correct the file, and send SIGHUP."
  },
  "betas refused": {
    "severity": "degraded",
    "meaning": "The changed file of `GREEKS_BETAS_FILE` has problems, so the betas before it stay in force.",
    "remedy": "Read the problems in the log or with `check`, correct the file, and send SIGHUP."
  },
  "journal stuck": {
    "severity": "not ready",
    "meaning": "Positions and gaps have not been stored for a minute, although some wait.",
    "remedy": "Read the reason in the status; it is PostgreSQL's own message."
  },
  "loop stuck": {
    "severity": "not ready",
    "meaning": "A part of the service has work and has made no step for minutes.",
    "remedy": "Save the log and restart the service; under systemd, its watchdog does that."
  },
  "replica behind": {
    "severity": "degraded",
    "meaning": "The replica that answers the reads is more than 10 s behind the primary, or does not tell its lag. Sums and history are as old; ticks are stored as usual.",
    "remedy": "Look at the replication of the replica, or remove it from GREEKS_READ_HOST."
  },
  "accounts not stored": {
    "severity": "degraded",
    "meaning": "This service reads accounts that the holder of the lease does not read. Their ticks are stored, and their positions and account values are not.",
    "remedy": "Give the logins of both services the same accounts, or each service a schema of its own (GREEKS_DB_SCHEMA)."
  },
  "name in use": {
    "severity": "degraded",
    "meaning": "Another service on this database has the name of this one, so each takes the leases from the other one, and gaps may be missing or false.",
    "remedy": "Give the machines, or the directories of the spools (GREEKS_SPOOL_DIR), different names, and restart."
  },
  "disk nearly full": {
    "severity": "degraded",
    "meaning": "Little is left on the disk of the spool or of the bundled PostgreSQL, or the growth fills the latter within two weeks.",
    "remedy": "Make room, or set GREEKS_KEEP_MONTHS and GREEKS_KEEP_PAYLOAD_MONTHS."
  },
  "retention failed": {
    "severity": "degraded",
    "meaning": "Months that are due could not be archived or dropped. They are still in the database or in their files.",
    "remedy": "Read the reason in the status, and run the command archive --run after that."
  },
  "estimates failed": {
    "severity": "degraded",
    "meaning": "Estimates of Greeks cannot be computed or stored. The last ones leave their views when their inputs are stale. The values of the brokers are stored as usual.",
    "remedy": "Read the reason in the status; without GREEKS_ESTIMATES there are none."
  },
  "clock differs": {
    "severity": "not ready",
    "meaning": "The clocks of this machine and of the database differ by more than GREEKS_CLOCK_LIMIT_S. Times of a wrong clock of this machine are corrected.",
    "remedy": "Set the clock that the status names, and let it follow a time server."
  },
  "broker clock differs": {
    "severity": "degraded",
    "meaning": "A broker's clock differs from those of this machine and the database.",
    "remedy": "Compare the clock of this machine with a time server; if it is right, tell the broker."
  },
  "database changed": {
    "severity": "note",
    "meaning": "The address leads to another database, or its tables were made anew or emptied. Positions, open gaps and latest ticks are told again.",
    "remedy": "Make sure that this is intended; rows of the time before are in the other database or a backup."
  },
  "partitions ahead missing": {
    "severity": "degraded",
    "meaning": "The next month has no partition and it cannot be made. From its first day on, ticks would wait in the spool.",
    "remedy": "Run the statements that the status shows, or let the role make tables."
  },
  "schema damaged": {
    "severity": "not ready",
    "meaning": "Tables, keys, indexes, views or functions are not those that the migrations made. Without the primary key, ticks that are offered again wait on the disk.",
    "remedy": "Run `bin/run-ingest migrate --repair`, then follow the status for the rest."
  },
  "schema differs": {
    "severity": "degraded",
    "meaning": "An index is missing, or a table has something that this program does not know and that changes its rows, such as a trigger or a default partition, or a newer version has added to the schema.",
    "remedy": "Read the status; `bin/run-ingest migrate --repair` makes a missing index again. During an upgrade, go on with it: the page Upgrade of the documents has the steps."
  }
};

/** What each reason of a gap means. */
export const GAP_REASONS = {
  "disconnected": "The connection to the broker ended, or there was none yet.",
  "silence": "The connection was open, but the broker sent nothing for too long.",
  "session lost": "The broker ended the login session, or another program took it over.",
  "session in doubt": "The broker reported the session as lost and a moment later as valid again.",
  "stopped": "The service was stopped and drained its data; the gap ends after the next start.",
  "killed": "The service ended without a clean shutdown; the gap ends after the next start.",
  "stopped by request": "A person stopped this feed; the gap ends when the feed is connected again.",
  "ticks lost": "Ticks were received in this interval, and some of them could not be stored.",
  "restored backup": "Rows of this interval were committed, and the database has lost them since.",
  "subscription unanswered": "The broker did not answer the subscription of this contract.",
  "subscription silent": "The subscription of this contract was active and then brought nothing more.",
  "subscription refused": "The broker refused a subscription that may include this contract.",
  "no greeks": "The contract is subscribed, and the broker sends no Greeks for it.",
  "unknown contract": "The broker does not know this contract, or has no name under which it streams.",
  "no market data line": "The account has fewer market data lines than contracts; this one has none."
};
