-- What servers know of each other.

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
