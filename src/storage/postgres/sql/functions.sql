-- The functions that servers call. A name has a version, so that two releases can run side by side.
--
-- No session settings are needed, because they do not survive a pooler. Each function brings its own:
-- a generic plan by indexes, whatever the statistics of a new database say, and a limit for lock waits.
-- No just-in-time compilation: the switches above make plans look expensive, and compiling one of them
-- takes 300 ms.

-- Commits a batch of groups, each of them whole or not at all.
--
-- Locks are taken in one order by all: buckets of names ascending, then heads ascending. So no
-- two commits can wait for each other. Everything else that a commit writes belongs to a locked head or
-- to a locked name.
--
-- Statements after the locks have snapshots of their own and see what others committed during the wait.
-- That holds under READ COMMITTED only.
create or replace function durable_streams.commit_v1(
  p_lane bigint, p_n bigint,
  p_lock bigint[],  -- the streams of groups with changes, ascending; null: the batch only expects
  p_names text[],   -- the names that these groups create, remove or expect to be absent
  -- The streams of the batch: what is expected,
  p_id bigint[], p_group int[], p_rev bigint[], p_at bigint[], p_most bigint[],
  -- the bytes to append, and the tail that a new stream begins with,
  p_data bytea[], p_len bigint[], p_base bigint[],
  -- whether it is removed, and its record, if that changes. A stream that is created and removed has a key only.
  p_remove boolean[], p_first bigint[], p_due bigint[], p_record bytea[], p_key text[], p_name text[],
  -- Bytes beyond the first piece, by their distance from the new tail.
  c_group int[], c_id bigint[], c_back bigint[], c_data bytea[],
  -- Names and writers that groups expect.
  a_group int[], a_key text[],
  w_group int[], w_id bigint[], w_key bytea[], w_progress bytea[],
  -- Writers to store. No progress: the writer is forgotten.
  u_group int[], u_id bigint[], u_key bytea[], u_progress bytea[], u_used bigint[]
) returns table (
  now bigint, logged boolean, moved int[], revs bigint[], tails bigint[],
  m_ids bigint[], m_records bytea[], m_revs bigint[], m_tails bigint[],
  grown_streams bigint, grown_bytes bigint
) language plpgsql
set jit = off set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off set lock_timeout = '2s'
as $$
declare
  l_firsts bigint[];
  r_ids bigint[];
  r_tails bigint[];
  r_bytes bigint := 0;
  d_ids bigint[];
  d_revs bigint[];
  d_tails bigint[];
  d_bytes bigint := 0;
  d_streams bigint := 0;
  touched bigint := 0;
  written bigint;
begin
  if p_names is not null then
    if current_setting('transaction_isolation') <> 'read committed' then
      raise exception 'durable_streams needs default_transaction_isolation = read committed';
    end if;
    -- 29541 is the number of these locks among the application's own.
    perform pg_advisory_xact_lock(29541, b.bucket)
      from (select distinct hashtext(name) & 255 as bucket from unnest(p_names) name order by 1) b;
    -- A name that is put for another stream takes that stream away.
    p_lock := p_lock || array(select t.id from durable_streams.streams t where t.key = any(p_key));
  end if;
  if p_lock is not null then
    perform 1 from (
      select h.id from durable_streams.heads h where h.id = any(p_lock) order by h.id for update) locked;
  end if;

  with s as materialized (
    select s.ord, s.grp, h.rev, h.tail, h.first,
      (s.rev is not null and h.rev is distinct from s.rev)
        or (s.at is not null and coalesce(h.tail, s.base) is distinct from s.at)
        or (s.most is not null and (h.tail is null or h.tail > s.most))
        -- A later life of a name has a greater id than all before it, whichever server had that id ready.
        or (s.key is not null and h.id is null and (
          exists (select from durable_streams.removed r where r.bucket = hashtext(s.key) & 255 and r.id >= s.id)
          -- One that this group removes.
          or exists (select from durable_streams.streams t where t.key = s.key collate "C" and t.id >= s.id))
        ) as has_moved
    from unnest(p_id, p_group, p_rev, p_at, p_most, p_base, p_key)
      with ordinality s(id, grp, rev, at, most, base, key, ord)
    left join durable_streams.heads h on h.id = s.id
  )
  select array_agg(s.rev order by s.ord), array_agg(s.tail order by s.ord), array_agg(s.first order by s.ord),
    array(
      select s.grp from s where s.has_moved
      union select w.grp from unnest(w_group, w_id, w_key, w_progress) w(grp, id, key, progress)
        left join durable_streams.writers x on x.id = w.id and x.key = w.key
        where x.progress is distinct from w.progress
      union select a.grp from unnest(a_group, a_key) a(grp, key)
        join durable_streams.streams t on t.key = a.key)
  into revs, tails, l_firsts, moved from s;
  moved := coalesce(moved, '{}');

  logged := false;
  if p_lock is not null then
    if p_names is not null then
      select array_agg(h.id order by h.id), array_agg(-1 - h.tail order by h.id),
          coalesce(sum(greatest(h.tail - h.first, 0)), 0)
        into r_ids, r_tails, r_bytes
      from durable_streams.heads h where h.id = any(array(
        select s.id from unnest(p_id, p_group, p_remove) s(id, grp, remove)
          where s.remove and s.grp <> all(moved)
        union select t.id from unnest(p_id, p_group, p_key) s(id, grp, key)
          join durable_streams.streams t on t.key = s.key and t.id <> s.id
          where s.grp <> all(moved)));
      if r_ids is not null then
        -- The names are locked, and so are their buckets.
        insert into durable_streams.removed as r
          select hashtext(t.key) & 255, max(t.id) from durable_streams.streams t where t.id = any(r_ids) group by 1
          on conflict (bucket) do update set id = greatest(r.id, excluded.id);
        delete from durable_streams.heads h where h.id = any(r_ids);
        delete from durable_streams.streams t where t.id = any(r_ids);
        insert into durable_streams.garbage select r, 9223372036854775807 from unnest(r_ids) r
          on conflict (id) do update set below = excluded.below;
      end if;
      if p_remove is not null and p_key is not null then
        -- Streams that their group creates and removes have had their ids as well.
        insert into durable_streams.removed as r
          select hashtext(s.key) & 255, max(s.id)
          from unnest(p_id, p_group, p_remove, p_key, tails) s(id, grp, remove, key, tail)
          where s.remove and s.key is not null and s.tail is null and s.grp <> all(moved) group by 1
          on conflict (bucket) do update set id = greatest(r.id, excluded.id);
      end if;
      insert into durable_streams.streams (id, key, name, record)
        select s.id, s.key, s.name, s.record
        from unnest(p_id, p_group, tails, p_key, p_name, p_record) s(id, grp, tail, key, name, record)
        where s.record is not null and s.tail is null and s.grp <> all(moved);
      get diagnostics d_streams = row_count;
      insert into durable_streams.heads (id, rev, tail, first, due_at)
        select s.id, 1, s.base + s.len, s.first, s.due
        from unnest(p_id, p_group, tails, p_base, p_len, p_first, p_due, p_record)
          s(id, grp, tail, base, len, first, due, record)
        where s.record is not null and s.tail is null and s.grp <> all(moved);
    end if;
    if p_record is not null then
      update durable_streams.streams t set record = s.record
        from unnest(p_id, p_group, tails, p_record) s(id, grp, tail, record)
        where t.id = s.id and s.record is not null and s.tail is not null and s.grp <> all(moved);
      insert into durable_streams.garbage
        select s.id, s.first from unnest(p_id, p_group, p_first, l_firsts) s(id, grp, first, was)
        where s.first > s.was and s.grp <> all(moved)
        on conflict (id) do update set below = greatest(garbage.below, excluded.below);
    end if;

    with s as materialized (
      select s.id, coalesce(s.rev, 0) + (s.record is not null)::int as rev, coalesce(s.tail, s.base) as tail,
        s.len, s.data, s.due, s.record is not null as is_put, s.tail is null as is_new,
        coalesce(s.first, s.was) as first,
        -- What the stream holds now, less what it held.
        greatest(coalesce(s.tail, s.base) + s.len - coalesce(s.first, s.was), 0)
          - coalesce(greatest(s.tail - s.was, 0), 0) as grown
      from unnest(p_id, p_group, revs, tails, l_firsts, p_data, p_len, p_base, p_remove, p_first, p_due, p_record)
        s(id, grp, rev, tail, was, data, len, base, remove, first, due, record)
      where (s.len > 0 or s.record is not null) and (s.tail is not null or s.record is not null)
        and s.remove is not true and s.grp <> all(moved)
    ), h as (
      update durable_streams.heads h set rev = s.rev, tail = s.tail + s.len, first = s.first,
          due_at = case when s.is_put then s.due else h.due_at end
        from s where h.id = s.id and not s.is_new
    ), c as (
      insert into durable_streams.chunks (id, start, stop, data)
        select s.id, s.tail, s.tail + octet_length(s.data), s.data from s where s.data is not null
    )
    select array_agg(s.id), array_agg(s.rev), array_agg(s.tail + s.len), coalesce(sum(s.grown), 0)
      into d_ids, d_revs, d_tails, d_bytes from s;

    if c_id is not null then
      insert into durable_streams.chunks (id, start, stop, data)
        select c.id, h.tail - c.back, h.tail - c.back + octet_length(c.data), c.data
        from unnest(c_group, c_id, c_back, c_data) c(grp, id, back, data)
        join durable_streams.heads h on h.id = c.id where c.grp <> all(moved);
    end if;
    if u_id is not null then
      insert into durable_streams.writers (id, key, progress, used_at)
        select u.id, u.key, u.progress, u.used
        from unnest(u_group, u_id, u_key, u_progress, u_used) u(grp, id, key, progress, used)
        join durable_streams.heads h on h.id = u.id
        where u.progress is not null and u.grp <> all(moved)
        on conflict (id, key) do update set progress = excluded.progress, used_at = excluded.used_at;
      get diagnostics touched = row_count;
      if array_position(u_progress, null) is not null then
        delete from durable_streams.writers x
          using unnest(u_group, u_id, u_key, u_progress) u(grp, id, key, progress)
          where x.id = u.id and x.key = u.key and u.progress is null and u.grp <> all(moved);
        get diagnostics written = row_count;
        touched := touched + written;
      end if;
    end if;

    if d_ids is not null or r_ids is not null or touched > 0 then
      -- The row of this number may have been trimmed, but the newest row of a lane stays.
      if exists (select from durable_streams.log k where k.lane = p_lane and k.n >= p_n) then
        raise unique_violation using constraint = 'log_pkey',
          message = format('the log has a commit of lane %s at or after %s', p_lane, p_n);
      end if;
      if r_ids is not null then
        d_ids := d_ids || r_ids;
        d_revs := d_revs || array_fill(0::bigint, array[cardinality(r_ids)]);
        d_tails := d_tails || r_tails;
        d_streams := d_streams - cardinality(r_ids);
        d_bytes := d_bytes - r_bytes;
      end if;
      insert into durable_streams.log (lane, n, ids, revs, tails, streams, bytes)
        select s.lane, p_n, coalesce(d_ids, '{}'), coalesce(d_revs, '{}'), coalesce(d_tails, '{}'), d_streams, d_bytes
        from durable_streams.servers s where s.lane = p_lane;
      if not found then
        -- No server would read the row, and it could not prove anything.
        raise exception 'the lane % has ended', p_lane using errcode = 'DS001';
      end if;
      logged := true;
    end if;
  end if;

  if cardinality(moved) > 0 then
    select array_agg(t.id), array_agg(t.record), array_agg(h.rev), array_agg(h.tail)
    into m_ids, m_records, m_revs, m_tails
    from durable_streams.streams t join durable_streams.heads h on h.id = t.id
    where t.id = any(array(select s.id from unnest(p_id, p_group) s(id, grp) where s.grp = any(moved)));
  end if;
  grown_streams := d_streams;
  grown_bytes := d_bytes;
  now := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
  return next;
end $$;

-- Whether (lane, n) was committed, after its answer was lost. If it was not, it never will be: the empty
-- row that is left here stops a backend that is still at work. No row: the lane has ended.
--
-- The update comes first: it keeps the lane, and its commit waits for the synchronous standbys. The row of a
-- commit that did not wait for them, because its backend was ended, would prove too little otherwise.
create or replace function durable_streams.settle_v1(p_lane bigint, p_n bigint)
returns table (ids bigint[], revs bigint[], tails bigint[], streams bigint, bytes bigint) language plpgsql
set jit = off set plan_cache_mode = force_generic_plan set enable_seqscan = off set lock_timeout = '2s'
as $$
begin
  update durable_streams.servers s set seen = clock_timestamp() where s.lane = p_lane;
  if not found then
    return;
  end if;
  insert into durable_streams.log (lane, n, ids, revs, tails, streams, bytes)
    values (p_lane, p_n, '{}', '{}', '{}', 0, 0) on conflict do nothing;
  return query select l.ids, l.revs, l.tails, l.streams, l.bytes
    from durable_streams.log l where l.lane = p_lane and l.n = p_n;
end $$;

-- A new lane.
create or replace function durable_streams.register_v1(p_name text)
returns bigint language sql as $$
  insert into durable_streams.servers (name) values (p_name) returning lane;
$$;

-- Streams by their names, as of one moment. Fails on a standby, to which a pooler may lead, and which may lag.
create or replace function durable_streams.streams_v1(p_keys text[])
returns table (now bigint, ord bigint, name text, record bytea, rev bigint, tail bigint) language plpgsql stable
set jit = off set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  if pg_is_in_recovery() then
    raise exception 'the database is a standby' using errcode = 'object_not_in_prerequisite_state';
  end if;
  return query
    select (extract(epoch from clock_timestamp()) * 1000000)::bigint, k.ord, t.name, t.record, h.rev, h.tail
    from unnest(p_keys) with ordinality k(key, ord)
    join durable_streams.streams t on t.key = k.key collate "C"
    join durable_streams.heads h on h.id = t.id;
end $$;

-- Streams in the order of their keys: from p_from on, after p_after, below p_below.
create or replace function durable_streams.list_v1(p_from text, p_after text, p_below text, p_limit bigint)
returns table (name text, record bytea, rev bigint, tail bigint) language plpgsql stable
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  if pg_is_in_recovery() then
    raise exception 'the database is a standby' using errcode = 'object_not_in_prerequisite_state';
  end if;
  if p_below is null then
    return query select t.name, t.record, h.rev, h.tail
      from durable_streams.streams t join durable_streams.heads h on h.id = t.id
      where t.key >= p_from and t.key > p_after order by t.key limit p_limit;
  else
    return query select t.name, t.record, h.rev, h.tail
      from durable_streams.streams t join durable_streams.heads h on h.id = t.id
      where t.key >= p_from and t.key > p_after and t.key < p_below order by t.key limit p_limit;
  end if;
end $$;

create or replace function durable_streams.due_v1(p_now bigint, p_limit bigint)
returns table (name text) language plpgsql stable
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  -- Any number of streams may be due at the same moment, so the limit applies before anything is sorted.
  return query
    select t.name from (
      select h.id, h.due_at from durable_streams.heads h where h.due_at <= p_now order by h.due_at limit p_limit) d
    join durable_streams.streams t on t.id = d.id order by d.due_at, t.key;
end $$;

create or replace function durable_streams.writers_v1(p_id bigint)
returns table (key bytea, progress bytea, used_at bigint) language plpgsql stable
set jit = off set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
begin
  return query select x.key, x.progress, x.used_at from durable_streams.writers x where x.id = p_id;
end $$;

-- The bytes of ranges, in order.
create or replace function durable_streams.read_v1(p_ids bigint[], p_from bigint[], p_to bigint[])
returns table (ord bigint, start bigint, data bytea) language plpgsql stable
set jit = off set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  return query
    select r.ord, greatest(c.start, r.low),
      case when c.start >= r.low and c.stop <= r.high then c.data
        else substring(c.data from (greatest(r.low - c.start, 0) + 1)::int
          for (least(c.stop, r.high) - greatest(c.start, r.low))::int) end
    from unnest(p_ids, p_from, p_to) with ordinality r(id, low, high, ord)
    cross join lateral (
      select k.start, k.stop, k.data from durable_streams.chunks k
      where k.id = r.id and k.start < r.high and k.stop > r.low
        -- The row that holds the beginning is the last one that starts at or below it.
        and k.start >= coalesce((select p.start from durable_streams.chunks p
          where p.id = r.id and p.start <= r.low order by p.start desc limit 1), r.low)
    ) c
    order by r.ord, c.start;
end $$;

-- Ids that nobody else has, from at least p_lowest.
create or replace function durable_streams.ids_v1(p_count bigint, p_lowest bigint)
returns bigint language sql as $$
  update durable_streams.ids set next = greatest(next, p_lowest) + p_count returning next - p_count;
$$;

-- Takes or renews a lease.
create or replace function durable_streams.duty_v1(p_duty text, p_lane bigint, p_seconds double precision)
returns boolean language sql as $$
  with taken as (
    insert into durable_streams.duties as d values
      (p_duty, p_lane, clock_timestamp() + make_interval(secs => p_seconds))
    on conflict (duty) do update set lane = excluded.lane, until = excluded.until
      where d.lane = excluded.lane or d.until < clock_timestamp()
        -- The clock went back, as it may at a failover.
        or d.until > excluded.until + make_interval(secs => p_seconds)
    returning 1)
  select exists (select from taken);
$$;

-- The commits of other servers after a vector of lanes: at most 500 of each lane, and of all together no more
-- after the one that completes 65,536 changes. The caller asks again for the rest.
create or replace function durable_streams.news_v2(p_lane bigint, p_lanes bigint[], p_ns bigint[])
returns table (lane bigint, n bigint, ids bigint[], revs bigint[], tails bigint[]) language plpgsql stable
set jit = off set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  return query
    select p.lane, p.n, p.ids, p.revs, p.tails from (
      select l.*, sum(cardinality(l.ids)) over (order by l.lane, l.n) - cardinality(l.ids) as before
      from durable_streams.servers s
      left join unnest(p_lanes, p_ns) v(lane, n) on v.lane = s.lane
      cross join lateral (
        select k.lane, k.n, k.ids, k.revs, k.tails from durable_streams.log k
        where k.lane = s.lane and k.n > coalesce(v.n, 0) order by k.n limit 500) l
      where s.lane <> p_lane) p
    where p.before < 65536 order by p.lane, p.n;
end $$;

-- The last commit of each lane.
create or replace function durable_streams.lanes_v1()
returns table (lane bigint, n bigint) language plpgsql stable
set jit = off set enable_seqscan = off
as $$
begin
  return query select s.lane, coalesce((select max(l.n) from durable_streams.log l where l.lane = s.lane), 0)
    from durable_streams.servers s;
end $$;

-- A server is alive. False: its lane has ended, and stays so, because the rows that prove its commits may be gone.
create or replace function durable_streams.seen_v2(p_lane bigint)
returns boolean language sql as $$
  with seen as (update durable_streams.servers set seen = clock_timestamp() where lane = p_lane returning 1)
  select exists (select from seen);
$$;

-- The growth of the store by commits after a vector of lanes. Without a vector: by all commits, with lane 0 for
-- those whose rows the log no longer has.
create or replace function durable_streams.usage_v2(p_lanes bigint[], p_ns bigint[])
returns table (lane bigint, n bigint, streams bigint, bytes bigint) language plpgsql stable
set jit = off set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  if p_lanes is null then
    return query select 0::bigint, 0::bigint, t.streams, t.bytes from durable_streams.totals t
      union all select k.lane, max(k.n), sum(k.streams)::bigint, sum(k.bytes)::bigint
        from durable_streams.log k group by k.lane;
  else
    return query select s.lane, l.n, l.streams, l.bytes
      from durable_streams.servers s left join unnest(p_lanes, p_ns) v(lane, n) on v.lane = s.lane
      cross join lateral (
        select max(k.n) as n, sum(k.streams)::bigint as streams, sum(k.bytes)::bigint as bytes
        from durable_streams.log k where k.lane = s.lane and k.n > coalesce(v.n, 0)) l
      where l.n is not null;
  end if;
end $$;

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
    -- The rows that another server is merging are neither here nor there.
    perform 1 from durable_streams.merges m where m.id = g.id for update;
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
          select k.lane, k.n, k.at, k.ids from durable_streams.log k where k.lane = lanes.lane and oldest.at < edge
          order by k.n limit 500) k
        where k.at < edge
          and (exists (select from durable_streams.log m where m.lane = k.lane and m.n > k.n)
            or not exists (select from durable_streams.servers s where s.lane = k.lane))
        limit 500) y where y.before < 65536) x
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
  kept bigint;
begin
  select * into m from durable_streams.merges where due < clock_timestamp() order by due limit 1
    for update skip locked;
  if not found then
    return false;
  end if;
  -- Up to 1,000 small rows that follow each other, in blocks of 64 KiB of positions.
  select min(x.start) as low, max(x.stop) as high, count(*) as rows into span from (
    select k.start, k.stop from durable_streams.chunks k where k.id = m.id and k.start >= m.merged
    order by k.start limit 1000) x;
  if span.rows is null or span.rows < 2 then
    delete from durable_streams.merges where id = m.id;
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

-- The channel of notifications. Whoever may connect to the database may send and receive them, so its name is known
-- to those only who may read this table.
create table if not exists durable_streams.channel (name text not null);
insert into durable_streams.channel
  select 'durable_streams_' || translate(gen_random_uuid()::text, '-', '')
  where not exists (select from durable_streams.channel);

-- Otherwise, whoever may create functions in a schema of the caller's search path could have a better match for a
-- polymorphic function than PostgreSQL's own.
do $$
declare
  f regprocedure;
begin
  for f in select p.oid::regprocedure from pg_catalog.pg_proc p
    where p.pronamespace = 'durable_streams'::regnamespace
  loop
    execute format('alter function %s set search_path = pg_catalog, pg_temp', f);
  end loop;
end $$;
