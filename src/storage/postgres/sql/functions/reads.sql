-- Reads.

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
