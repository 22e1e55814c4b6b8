-- What keeps other roles of the database away.

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
