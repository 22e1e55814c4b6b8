-- What keeps other roles of the database away.

-- The channel of notifications. Every role that may connect can send and receive on any channel, so only roles that
-- may read this table know its name.
create table if not exists durable_streams.channel (name text not null);
insert into durable_streams.channel
  select 'durable_streams_' || translate(gen_random_uuid()::text, '-', '')
  where not exists (select from durable_streams.channel);

-- With the caller's search path, a role that may create functions in one of its schemas could replace PostgreSQL's
-- own polymorphic functions.
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
