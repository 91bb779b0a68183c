"""Figures of the sizes: the database, its months, and the room on the disks."""

from __future__ import annotations

from datetime import UTC, datetime

from greeks_trio.monitoring.figures.figure import fact, gauge
from greeks_trio.monitoring.readings import Readings


def _oldest_month(now: Readings) -> datetime | None:
    sizes = now.status.storage.sizes
    if sizes is None or not sizes.months:
        return None
    month = min(sizes.months)[0]
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def _newest_month_bytes(now: Readings) -> int | None:
    """Return the size of the newest month that has begun."""
    sizes = now.status.storage.sizes
    if sizes is None:
        return None
    begun = [each for each in sizes.months if each[0] <= sizes.at.date()]
    return max(begun)[1] if begun else None


def _disks(now: Readings, part: str) -> dict[str, int]:
    storage = now.status.storage
    disks = {"database": storage.database_disk, "spool": storage.spool_disk}
    return {
        name: getattr(room, part) for name, room in disks.items() if room is not None
    }


class StorageFigures:
    """Read once a minute; null before the first reading, and if it is not known."""

    storage_database_bytes = gauge(
        "Size of the database.",
        lambda now: (
            now.status.storage.sizes and now.status.storage.sizes.database_bytes
        ),
        unit="bytes",
        status="storage.database_bytes",
    )
    storage_months = gauge(
        "Months of ticks in the database, months ahead included.",
        lambda now: now.status.storage.sizes and len(now.status.storage.sizes.months),
        unit="months",
        status="storage.months",
    )
    storage_oldest_month = gauge(
        "Start of the oldest month of ticks in the database.",
        _oldest_month,
        value=datetime,
        unit="timestamp",
        status="storage.oldest_month",
    )
    storage_newest_month_bytes = gauge(
        "Size of the present month of ticks, with indexes.",
        _newest_month_bytes,
        unit="bytes",
        status="storage.newest_month_bytes",
    )
    storage_payload_share = gauge(
        "Share of source_payload in a row, from 0 to 1, an estimate of PostgreSQL.",
        lambda now: now.status.storage.sizes and now.status.storage.sizes.payload_share,
        value=float,
        status="storage.payload_share",
    )
    storage_growth_per_day_bytes = gauge(
        "Growth of the database in a day, an estimate from the newest month.",
        lambda now: now.status.storage.sizes and now.status.storage.sizes.bytes_per_day,
        value=float,
        unit="bytes",
        status="storage.growth_per_day_bytes",
    )
    storage_archived_months = fact(
        "Months of ticks that are in files and not in the database.",
        lambda now: (
            now.status.storage.sizes and now.status.storage.sizes.archived_months
        ),
        unit="months",
        status="storage.archived_months",
    )
    storage_disk_free_bytes = gauge(
        "Room on the disk of the spool, and of the bundled PostgreSQL.",
        lambda now: _disks(now, "free"),
        unit="bytes",
        labels=("disk",),
        status="storage.disk_free_bytes",
    )
    storage_disk_size_bytes = gauge(
        "Size of these disks.",
        lambda now: _disks(now, "total"),
        unit="bytes",
        labels=("disk",),
        status="storage.disk_size_bytes",
    )
    storage_days_left = gauge(
        "Days until the growth fills the disk of the bundled PostgreSQL.",
        lambda now: now.status.storage.days_left,
        value=float,
        unit="days",
        status="storage.days_left",
    )
