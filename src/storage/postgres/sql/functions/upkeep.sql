-- Upkeep.

-- A step of upkeep, besides that of the log. True: there is more to do.
create or replace function durable_streams.upkeep_v2()
returns boolean language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '2s'
as $$
begin
  return durable_streams.collect_v1() or durable_streams.merge_v1();
end $$;

-- Deletes garbage. True: there may be more. A step is bounded by rows and by bytes: a row of 1 MiB is 500 rows
-- for the database. A commit that trims a stream waits for a step that does the same.
create or replace function durable_streams.collect_v1()
returns boolean language plpgsql
set jit = off
as $$
declare
  g record;
  rows_left int := 1000;
  bytes_left bigint := 16777216;
  gone record;
  written int;
begin
  for step in 1..100 loop
    -- Another server that does the same takes another row.
    select * into g from durable_streams.garbage order by id limit 1 for update skip locked;
    if not found then
      return false;
    end if;
    -- This step sees neither all old nor all new rows of a stream that another server is merging.
    perform 1 from durable_streams.merges m where m.id = g.id for update skip locked;
    if not found and exists (select from durable_streams.merges m where m.id = g.id) then
      return false;
    end if;
    with x as (
      -- The index ends the search at a start only.
      select k.start, sum(k.stop - k.start) over (order by k.start) - (k.stop - k.start) as before
      from durable_streams.chunks k where k.id = g.id and k.start < g.below and k.stop <= g.below
      order by k.start limit rows_left
    ), d as (
      delete from durable_streams.chunks c using x where c.id = g.id and c.start = x.start and x.before < bytes_left
        returning c.stop - c.start as size
    )
    select count(*) as rows, coalesce(sum(d.size), 0) as bytes into gone from d;
    rows_left := rows_left - gone.rows;
    bytes_left := bytes_left - gone.bytes;
    if rows_left <= 0 or bytes_left <= 0 then
      return true;
    end if;
    if g.below = 9223372036854775807 then
      delete from durable_streams.writers w using (
          select x.id, x.key from durable_streams.writers x where x.id = g.id limit rows_left) x
        where w.id = x.id and w.key = x.key;
      get diagnostics written = row_count;
      rows_left := rows_left - written;
      if rows_left <= 0 then
        return true;
      end if;
      delete from durable_streams.merges m where m.id = g.id;
    end if;
    delete from durable_streams.garbage where id = g.id;
  end loop;
  return true;
end $$;

-- Removes old rows of the log and keeps their sums. The newest row of a lane stays, because the lane may
-- still ask for it. Servers without a sign of life for an hour are forgotten. A step ends after 500 rows, or with
-- the one that completes 65,536 changes. True: there is more to do.
create or replace function durable_streams.trim_log_v1()
returns boolean language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = '2s'
as $$
declare
  gone record;
  edge timestamptz := clock_timestamp() - interval '1 minute';
begin
  -- One at a time, so that sums are added once.
  perform 1 from durable_streams.totals for update skip locked;
  if not found then
    return false;
  end if;
  -- The lanes in the log, which servers that were forgotten have left, too.
  with recursive lanes as (
    (select k.lane from durable_streams.log k order by k.lane limit 1)
    union all select (select k.lane from durable_streams.log k where k.lane > l.lane order by k.lane limit 1)
      from lanes l where l.lane is not null
  ), dead as (
    delete from durable_streams.servers s where s.seen < clock_timestamp() - interval '1 hour' returning s.lane
  ), old as (
    delete from durable_streams.log l using (
        select y.lane, y.n from (
          select k.lane, k.n, sum(cardinality(k.ids)) over (order by k.lane, k.n) - cardinality(k.ids) as before
          from lanes
          cross join lateral (
            select k.at from durable_streams.log k where k.lane = lanes.lane order by k.n limit 1) oldest
          cross join lateral (
            select k.lane, k.n, k.at, k.ids from durable_streams.log k
            where k.lane = lanes.lane and oldest.at < edge order by k.n limit 500) k
          where k.at < edge
            and (exists (select from durable_streams.log m where m.lane = k.lane and m.n > k.n)
              or not exists (select from durable_streams.servers s where s.lane = k.lane))
          limit 500) y
        where y.before < 65536) x
      where l.lane = x.lane and l.n = x.n returning l.ids, l.streams, l.bytes
  ), sums as (
    update durable_streams.totals t set streams = t.streams + o.streams, bytes = t.bytes + o.bytes
      from (select coalesce(sum(old.streams), 0) as streams, coalesce(sum(old.bytes), 0) as bytes from old) o
  ), due as (
    insert into durable_streams.merges as m (id, due)
      select changed.id, clock_timestamp() + interval '1 hour'
      from (select distinct i as id from old, unnest(old.ids) i) changed
      on conflict (id) do nothing
  )
  select count(*) as rows, coalesce(sum(cardinality(old.ids)), 0) as changes into gone from old;
  return gone.rows >= 500 or gone.changes >= 65536;
end $$;

-- Merges the small rows of a stream into larger ones. Only rows that this transaction itself deletes are
-- merged, so nothing that another one removes comes back. Readers see one or the other.
create or replace function durable_streams.merge_v1()
returns boolean language plpgsql
set jit = off
as $$
declare
  m record;
  span record;
  edge bigint;
begin
  -- Most streams have nothing to merge, so a step looks at several.
  for step in 1..100 loop
    select * into m from durable_streams.merges where due < clock_timestamp() order by due limit 1
      for update skip locked;
    if not found then
      return false;
    end if;
    -- Up to 1,000 small rows that follow each other, in blocks of 64 KiB of positions.
    select min(x.start) as low, max(x.stop) as high, count(*) as rows into span from (
      select k.start, k.stop from durable_streams.chunks k where k.id = m.id and k.start >= m.merged
      order by k.start limit 1000) x;
    exit when span.rows >= 2;
    delete from durable_streams.merges where id = m.id;
  end loop;
  if span.rows < 2 then
    return true;
  end if;
  -- The last block may grow.
  edge := case when span.rows < 1000 then (span.high / 65536) * 65536 else span.high end;
  with gone as (
    delete from durable_streams.chunks c
      -- The index ends the search at a start only.
      where c.id = m.id and c.start >= span.low and c.start < edge and c.stop <= edge and c.stop - c.start < 32768
      returning c.start, c.stop, c.data
  ), runs as (
    select g.start, g.stop, g.data, g.start / 65536 as block,
      -- A row that was not deleted lies between two runs.
      sum(g.jump) over (order by g.start) as run
    from (select gone.*, (gone.start is distinct from lag(gone.stop) over (order by gone.start))::int as jump
      from gone) g
  )
  insert into durable_streams.chunks (id, start, stop, data)
    select m.id, min(r.start), max(r.stop), string_agg(r.data, ''::bytea order by r.start)
    from runs r group by r.run, r.block;
  if span.rows < 1000 then
    delete from durable_streams.merges where id = m.id;
  else
    update durable_streams.merges set merged = edge where id = m.id;
  end if;
  return true;
end $$;
