-- Functions that keep what others built on our tables when a table is made anew: their grants,
-- views, indexes. dbt's materializations call them, and `reporting.py`. Each migration ends with
-- this file: a change here needs a new migration, if only an empty one.

-- The schema of the views for readers if it is there and made by us, else null.
create or replace function {ops}.reporting_of_ours(reporting text)
returns regnamespace
language sql stable
set search_path to pg_catalog
as $function$
    select oid::regnamespace
    from pg_namespace
    where
        nspname = reporting
        and obj_description(oid, 'pg_namespace') like 'Made by tutor-pipeline%';
$function$;

-- What of others hangs on a table and would be lost with it, but for grants: one description each,
-- and the statement that makes it again on a table of the same name (null: there is none).
create or replace function {ops}.built_by_others(made regclass, reporting text)
returns table (what text, statement text)
language sql stable
set search_path to pg_catalog
as $function$
    with named as (
        select 'pg_class'::regclass as classid, made as objid
        union all
        select 'pg_type'::regclass, pg_type.oid
        from pg_class
        inner join pg_type on pg_type.oid = pg_class.reltype or pg_type.typelem = pg_class.reltype
        where pg_class.oid = made
    ),

    dependents as (
        select distinct depend.classid, depend.objid
        from named
        inner join pg_depend as depend
            on named.classid = depend.refclassid and named.objid = depend.refobjid
        where depend.deptype in ('n', 'a') and depend.objid <> made
    )

    -- Views, materialized views and rules.
    select
        case views.relkind
            when 'v' then 'view '
            when 'm' then 'materialized view '
            else 'rule ' || quote_ident(rules.rulename) || ' on '
        end || views.oid::regclass::text,
        case when views.relkind = 'v' and pg_has_role(views.relowner, 'usage') then
            'create or replace view ' || views.oid::regclass::text
            || coalesce(' with (' || array_to_string(views.reloptions, ', ') || ')', '')
            || ' as ' || pg_get_viewdef(views.oid)
        end
    from dependents
    inner join pg_rewrite as rules
        on dependents.classid = 'pg_rewrite'::regclass and rules.oid = dependents.objid
    inner join pg_class as views on views.oid = rules.ev_class
    where views.relnamespace is distinct from {ops}.reporting_of_ours(reporting)::oid

    -- Indexes: ours have the names that dbt gives them, or belong to a constraint.
    union all
    select 'index ' || indexes.oid::regclass::text, pg_get_indexdef(indexes.oid)
    from pg_index as indexed
    inner join pg_class as indexes on indexes.oid = indexed.indexrelid
    where
        indexed.indrelid = made
        and indexes.relname !~ '^[0-9a-f]{{32}}$'
        and not exists (
            select 1 from pg_constraint where pg_constraint.conindid = indexes.oid
        )

    union all
    select
        'trigger ' || quote_ident(triggers.tgname) || ' on ' || made::text,
        pg_get_triggerdef(triggers.oid)
    from pg_trigger as triggers
    where triggers.tgrelid = made and not triggers.tgisinternal

    -- Whatever else the catalog knows: policies, publications, foreign keys, functions, statistics.
    union all
    select pg_describe_object(dependents.classid, dependents.objid, 0), null
    from dependents
    where
        dependents.classid not in (
            'pg_rewrite'::regclass, 'pg_trigger'::regclass, 'pg_attrdef'::regclass
        )
        and not exists (
            select 1 from pg_index
            where
                dependents.classid = 'pg_class'::regclass
                and pg_index.indexrelid = dependents.objid
        )
        and not exists (
            select 1 from pg_constraint
            where
                dependents.classid = 'pg_constraint'::regclass
                and pg_constraint.oid = dependents.objid
                and pg_constraint.conrelid = made
        )
        -- Sequences that a column owns go with it.
        and not exists (
            select 1 from pg_class
            where
                dependents.classid = 'pg_class'::regclass
                and pg_class.oid = dependents.objid
                and pg_class.relkind in ('S', 't')
        )

    union all
    select 'row-level security of ' || made::text, null
    from pg_class
    where pg_class.oid = made and pg_class.relrowsecurity;
$function$;

-- Whether two tables have the same columns: names, types, order.
create or replace function {ops}.has_columns_of(made regclass, other regclass)
returns boolean
language sql stable
set search_path to pg_catalog
as $function$
    select count(distinct columns) = 1
    from (
        select array_agg(
            row(attname, atttypid, atttypmod, attcollation)::text order by attnum
        ) as columns
        from pg_attribute
        where attrelid in (made, other) and attnum > 0 and not attisdropped
        group by attrelid
    ) as tables;
$function$;

-- Gives a new table the rights on the table that it takes the place of: those, and no others.
create or replace function {ops}.copy_grants(made regclass, other regclass)
returns void
language plpgsql
set search_path to pg_catalog
as $function$
declare
    granted record;
begin
    for granted in
        select distinct
            case rights.grantee when 0 then 'public' else rights.grantee::regrole::text end as role
        from pg_class, aclexplode(pg_class.relacl) as rights
        where pg_class.oid = other and rights.grantee <> pg_class.relowner
    loop
        execute format('revoke all on %s from %s', other, granted.role);
    end loop;
    for granted in
        select
            rights.privilege_type || coalesce(' (' || rights.columns || ')', '') as privilege,
            case rights.grantee when 0 then 'public' else rights.grantee::regrole::text end as role,
            case when rights.is_grantable then ' with grant option' else '' end as option
        from (
            select of_table.*, null as columns
            from pg_class, aclexplode(pg_class.relacl) as of_table
            where pg_class.oid = made and of_table.grantee <> pg_class.relowner
            union all
            select of_column.*, quote_ident(pg_attribute.attname)
            from pg_attribute, aclexplode(pg_attribute.attacl) as of_column
            where
                pg_attribute.attrelid = made
                and not pg_attribute.attisdropped
                and pg_attribute.attname in (
                    select attname from pg_attribute as kept
                    where kept.attrelid = other and kept.attnum > 0 and not kept.attisdropped
                )
        ) as rights
    loop
        execute format(
            'grant %s on %s to %s%s', granted.privilege, other, granted.role, granted.option
        );
    end loop;
end
$function$;

-- Locks a table and the view on it against all others if nobody reads or writes them now. A reader
-- takes the view first, so the view comes first here.
create or replace function {ops}.lock_at_once(made regclass, reporting text)
returns boolean
language plpgsql
set search_path to pg_catalog
as $function$
declare
    view text := {ops}.view_in_reporting(made, reporting);
begin
    if {ops}.reporting_of_ours(reporting) is not null and to_regclass(view) is not null then
        execute format('lock table %s in access exclusive mode nowait', view);
    end if;
    execute format('lock table %s in access exclusive mode nowait', made);
    return true;
exception when lock_not_available then
    return false;
end
$function$;

create or replace function {ops}.view_in_reporting(made regclass, reporting text)
returns text
language sql stable
set search_path to pg_catalog
as $function$
    select quote_ident(reporting) || '.' || quote_ident(relname) from pg_class where oid = made;
$function$;

-- The columns of a view and of the table that it shows, by name; either may lack some.
create or replace function {ops}.columns_of_both(view regclass, made regclass)
returns table (
    attname name, of_view smallint, of_table smallint, shown_type text, made_type text
)
language sql stable
set search_path to pg_catalog
as $function$
    select
        coalesce(of_view.attname, of_table.attname),
        of_view.attnum,
        of_table.attnum,
        format_type(of_view.atttypid, of_view.atttypmod),
        format_type(of_table.atttypid, of_table.atttypmod)
    from (
        select * from pg_attribute where attrelid = view and attnum > 0
    ) as of_view
    full join (
        select * from pg_attribute where attrelid = made and attnum > 0 and not attisdropped
    ) as of_table
        on of_view.attname = of_table.attname;
$function$;

-- Points the view of a table's name at the table. Its columns keep their order and types: new ones
-- come last, and one that the table no longer has is null. Does nothing where the schema is not
-- there or not ours.
create or replace function {ops}.show_in_reporting(made regclass, reporting text)
returns void
language plpgsql
set search_path to pg_catalog
as $function$
declare
    view text := {ops}.view_in_reporting(made, reporting);
    shown regclass;
    listed text;
    said record;
begin
    if {ops}.reporting_of_ours(reporting) is null then
        return;
    end if;
    shown := to_regclass(view);
    -- Making it again locks it against its readers, so only where something differs.
    if exists (
        select 1 from pg_depend
        inner join pg_rewrite on pg_rewrite.oid = pg_depend.objid
        where
            pg_depend.classid = 'pg_rewrite'::regclass
            and pg_depend.refobjid = made
            and pg_rewrite.ev_class = shown
    ) and not exists (
        select 1 from {ops}.columns_of_both(shown, made) where of_view is null
    ) then
        return;
    end if;
    select
        string_agg(
            case
                when of_table is null then format('null::%s as %I', shown_type, attname)
                when of_view is null or shown_type = made_type then format('source.%I', attname)
                else format('source.%1$I::%2$s as %1$I', attname, shown_type)
            end,
            ', ' order by of_view nulls last, of_table
        )
    into listed
    from {ops}.columns_of_both(shown, made);
    execute format('create or replace view %s as select %s from %s as source', view, listed, made);
    for said in
        select
            'comment on view ' || view as target,
            obj_description(made, 'pg_class') as words
        union all
        select
            'comment on column ' || view || '.' || quote_ident(attname),
            case when of_table is null then 'No longer filled' else col_description(made, of_table) end
        from {ops}.columns_of_both(to_regclass(view), made)
    loop
        execute format('%s is %L', said.target, said.words);
    end loop;
end
$function$;
