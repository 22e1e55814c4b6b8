-- Commits, and what a server needs for them.

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

-- Ids that nobody else has, from at least p_lowest.
create or replace function durable_streams.ids_v1(p_count bigint, p_lowest bigint)
returns bigint language sql as $$
  update durable_streams.ids set next = greatest(next, p_lowest) + p_count returning next - p_count;
$$;
