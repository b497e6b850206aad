-- Which of these crashes have neither a fact nor a dead letter, and are not erased, nor to be. The days bound what is looked at to
-- the partitions that hold them, so that a batch costs a look into an index for each crash, however many facts there are.
SELECT asked.crash_id
FROM unnest($1::date[], $2::uuid[]) AS asked (crash_day, crash_id)
WHERE NOT EXISTS (
        SELECT FROM fact_crash f
        WHERE f.crash_day = asked.crash_day AND f.crash_id = asked.crash_id AND f.crash_day BETWEEN $3 AND $4)
    AND NOT EXISTS (
        SELECT FROM dead_letter d
        WHERE d.crash_day = asked.crash_day AND d.crash_id = asked.crash_id AND d.crash_day BETWEEN $3 AND $4
            -- One that was retried waits for its result, as a crash does that never failed, unless it was given up since.
            AND (d.retried_at IS NULL OR d.dropped_at IS NOT NULL))
    AND NOT EXISTS (
        SELECT FROM erased_crash e WHERE e.crash_day = asked.crash_day AND e.crash_id = asked.crash_id)
