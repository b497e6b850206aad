-- The marks of crashes that were processed again, but for what they still lack.
DELETE FROM crash_degraded d
USING unnest($1::date[], $2::uuid[]) AS again (crash_day, crash_id)
WHERE d.crash_day = again.crash_day AND d.crash_id = again.crash_id
    AND NOT EXISTS (
        SELECT FROM unnest($3::uuid[], $4::text[]) AS still (crash_id, part)
        WHERE still.crash_id = d.crash_id AND still.part = d.part)
