-- What crashes were saved without. A mark that is there keeps when it was first made, how often it was tried, and when it is tried next.
INSERT INTO crash_degraded (crash_day, crash_id, part, since, at, next_try, detail)
SELECT crash_day, crash_id, part, at, at, next_try, detail
FROM unnest($1::date[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[])
    AS n (crash_day, crash_id, part, at, next_try, detail)
ORDER BY crash_day, crash_id, part
ON CONFLICT (crash_day, crash_id, part) DO UPDATE SET at = excluded.at, detail = excluded.detail
