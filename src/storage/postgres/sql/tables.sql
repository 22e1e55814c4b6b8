-- The tables of format 1. One schema holds everything, in a database of its own if possible.

create schema if not exists durable_streams;

-- The version of these tables, and the revision of the functions that are installed.
create table durable_streams.format (version bigint not null, functions bigint not null);
insert into durable_streams.format values (1, 0);

-- Streams: written when one is created, or its record changes.
create table durable_streams.streams (
  id bigint primary key,
  key text collate "C" not null unique, -- the name in the form by which names are compared
  name text collate "C" not null,       -- as it was spelled at creation
  record bytea not null                 -- the server's own format; the database never looks inside
);

-- The head of each stream: written by each commit, so it is narrow and has room for updates in place.
-- Whoever changes anything of a stream holds the lock of its row here.
create table durable_streams.heads (
  id bigint primary key,
  rev bigint not null,   -- raised with each change of the record
  tail bigint not null,  -- the position after the last byte
  first bigint not null, -- the first position that is kept
  due_at bigint
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);
create index heads_due on durable_streams.heads (due_at) where due_at is not null;

-- The greatest id that was removed, for each bucket of names: streams created later have greater ones.
create table durable_streams.removed (
  bucket int primary key,
  id bigint not null
) with (fillfactor = 50);

-- Bytes: one row for each stream and commit, never updated. Stored plain, so that a part of a row can
-- be read without the rest.
create table durable_streams.chunks (
  id bigint not null,
  start bigint not null,
  stop bigint not null,
  data bytea not null,
  primary key (id, start)
) with (toast_tuple_target = 8160, autovacuum_vacuum_insert_scale_factor = 0.05);
alter table durable_streams.chunks alter column data set storage external;

-- Producers and the Stream-Seq scopes of a stream. Keys and progress are the server's own format.
create table durable_streams.writers (
  id bigint not null,
  key bytea not null,
  progress bytea not null,
  used_at bigint not null,
  primary key (id, key)
) with (fillfactor = 70);

-- One row for each start of a server. Its commits are serial, so (lane, n) is in commit order.
create table durable_streams.servers (
  lane bigint generated always as identity primary key,
  name text not null,
  seen timestamptz not null default clock_timestamp()
);

-- What each commit has changed: news for the other servers, and the proof that it was committed.
create table durable_streams.log (
  lane bigint not null,
  n bigint not null,
  at timestamptz not null default clock_timestamp(),
  ids bigint[] not null,   -- the changed streams,
  revs bigint[] not null,  -- their revisions,
  tails bigint[] not null, -- and their tails; -1 - tail: removed
  streams bigint not null, -- by how many streams
  bytes bigint not null,   -- and bytes the store grew
  primary key (lane, n)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05);

-- What the store holds, but for the rows of the log.
create table durable_streams.totals (streams bigint not null, bytes bigint not null);
insert into durable_streams.totals values (0, 0);

-- The next id of a stream.
create table durable_streams.ids (next bigint not null);
insert into durable_streams.ids values (1);

-- Work that one server does for all, for as long as it renews its lease.
create table durable_streams.duties (
  duty text collate "C" primary key,
  lane bigint not null,
  until timestamptz not null
);

-- Bytes to be deleted: those of a stream below a position.
create table durable_streams.garbage (id bigint primary key, below bigint not null);

-- Streams with recent commits, whose small rows are merged later.
create table durable_streams.merges (
  id bigint primary key,
  due timestamptz not null,
  merged bigint not null default 0 -- rows below are merged
);
create index merges_due on durable_streams.merges (due);
