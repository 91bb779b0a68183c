-- What retention did to each month: the files of archived months, and months without
-- payloads.

create table archived_months (
    month date not null,
    broker text not null,
    part integer not null,
    rows bigint not null,
    checksum numeric not null,
    file text,
    file_bytes bigint,
    archived_at timestamptz not null default clock_timestamp(),
    dropped_at timestamptz,
    loaded_at timestamptz,
    constraint archived_months_pkey primary key (month, broker, part),
    constraint archived_months_month_check
        check (extract(day from month) = 1),
    constraint archived_months_file_check
        check (num_nulls(file, file_bytes) in (0, 2))
);

comment on table archived_months is
    'The files that hold months of greek_snapshots: one row for each month, broker and part';
comment on column archived_months.month is
    'First day of the month, UTC';
comment on column archived_months.part is
    'Counts the files of one month and broker from 1. Rows that arrive after a month was '
    'dropped go to another part';
comment on column archived_months.rows is
    'Number of rows in the file';
comment on column archived_months.checksum is
    'Sum over the rows of the first 8 bytes of SHA-256 of the row as text';
comment on column archived_months.file is
    'Name of the file in GREEKS_ARCHIVE_DIR; null if the rows were dropped without a file';
comment on column archived_months.file_bytes is
    'Size of the file in bytes';
comment on column archived_months.archived_at is
    'When the file was compared with the table';
comment on column archived_months.dropped_at is
    'When the rows left the table; null while they are in it';
comment on column archived_months.loaded_at is
    'When the rows of the file came back; null if they did not, or were dropped again';

create table dropped_payloads (
    month date not null,
    rows bigint not null,
    bytes_before bigint not null,
    bytes_after bigint not null,
    dropped_at timestamptz not null default clock_timestamp(),
    constraint dropped_payloads_pkey primary key (month, dropped_at),
    constraint dropped_payloads_month_check
        check (extract(day from month) = 1)
);

comment on table dropped_payloads is
    'The months of greek_snapshots whose source_payload was emptied';
comment on column dropped_payloads.month is
    'First day of the month, UTC';
comment on column dropped_payloads.rows is
    'Number of rows that have lost their payload';
comment on column dropped_payloads.bytes_before is
    'Size of the month with indexes before, in bytes';
comment on column dropped_payloads.bytes_after is
    'Size of the month with indexes after, in bytes';
