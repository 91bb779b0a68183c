-- The role with which Grafana reads, for compose.yml.  PostgreSQL runs this file once, before
-- the service makes its tables.  The role may read every table and view of the service, also
-- those of later versions, and change none.
\set password `cat /run/secrets/reader_password`
create role portfolio_reader login password :'password';
alter role portfolio_reader set default_transaction_read_only = on;
alter role portfolio_reader set statement_timeout = '60s';
-- To compile these queries takes longer than to run them.
alter role portfolio_reader set jit = off;
alter default privileges in schema public grant select on tables to portfolio_reader;
-- For a database that has the tables already.
grant select on all tables in schema public to portfolio_reader;
