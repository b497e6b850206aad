-- Our own partition maker: no extension, no default partition. It stands in the database so that a migration, a daemon and an
-- operator make partitions by the same code.

CREATE FUNCTION partition_range(parent regclass)
    RETURNS TABLE (partition regclass, first_day date, end_day date)
    LANGUAGE sql STABLE
    SET search_path = public, pg_temp
    -- Bounds are written as the session writes dates.
    SET datestyle = 'ISO, YMD'
AS $$
    SELECT c.oid::regclass,
           substring(bound FROM $re$FROM \('([0-9-]+)'\)$re$)::date,
           substring(bound FROM $re$TO \('([0-9-]+)'\)$re$)::date
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) AS bound
    WHERE i.inhparent = parent
$$;
COMMENT ON FUNCTION partition_range(regclass) IS 'The partitions of a table with their first day and the day after their last.';

CREATE FUNCTION make_partition(parent regclass, day date, step text)
    RETURNS bool
    LANGUAGE plpgsql
    SET search_path = public, pg_temp
    SET client_min_messages = warning
    SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    first_day date := date_trunc(step, day::timestamp)::date;
    end_day date := (date_trunc(step, day::timestamp) + ('1 ' || step)::interval)::date;
    neighbour record;
    name text;
    partition text;
    taken int := 1;
BEGIN
    -- Partitions that were made with another step stay as they are: the new one fills the gap between them.
    FOR neighbour IN SELECT * FROM partition_range(parent) LOOP
        IF day >= neighbour.first_day AND day < neighbour.end_day THEN
            RETURN false;
        ELSIF neighbour.end_day <= day THEN
            first_day := greatest(first_day, neighbour.end_day);
        ELSE
            end_day := least(end_day, neighbour.first_day);
        END IF;
    END LOOP;

    name := format('%s_%s', parent, to_char(first_day, 'YYYYMMDD'));
    partition := name;
    -- One that was detached to be archived keeps its name.
    WHILE to_regclass(quote_ident(partition)) IS NOT NULL LOOP
        taken := taken + 1;
        partition := format('%s_%s', name, taken);
    END LOOP;
    -- Made apart and attached, because PARTITION OF would lock every reader and writer of the parent out.
    EXECUTE format('CREATE TABLE %I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE)',
        partition, parent);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent, partition, first_day, end_day);
    RETURN true;
END
$$;
COMMENT ON FUNCTION make_partition(regclass, date, text) IS 'Makes the partition of a table that holds a day, a day, week or month long, unless there is one; true when it did.';

CREATE FUNCTION make_partitions(first_day date, last_day date, step text)
    RETURNS int
    LANGUAGE plpgsql
    SET search_path = public, pg_temp
AS $$
DECLARE
    made int := 0;
    parent record;
    day date;
BEGIN
    IF step NOT IN ('day', 'week') THEN
        RAISE EXCEPTION 'partitions are a day or a week long, not a %', step;
    ELSIF last_day - first_day > 366 THEN
        RAISE EXCEPTION 'partitions are made for at most a year at once';
    END IF;
    -- Two at once would make the same table. The number has no meaning but to be this lock's.
    PERFORM pg_advisory_xact_lock(4841290315027);
    FOR parent IN
        SELECT c.oid::regclass AS name, a.attname = 'crash_day' AS by_crash
        FROM pg_partitioned_table p
        JOIN pg_class c ON c.oid = p.partrelid
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
        WHERE c.relnamespace = 'public'::regnamespace
        ORDER BY c.relname
    LOOP
        FOR day IN SELECT generate_series(first_day, last_day, '1 day')::date LOOP
            -- Rollups are small and are kept for ever: a month holds them.
            IF make_partition(parent.name, day, CASE WHEN parent.by_crash THEN step ELSE 'month' END) THEN
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION make_partitions(date, date, text) IS 'Makes what partitions are missing for these days in all tables and returns how many: a day or week long by crash day, a month long by day.';

INSERT INTO schema_compatibility (version, oldest_release) VALUES (5, 5);
