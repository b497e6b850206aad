-- A page of letters, in the order of their key.
SELECT crash_id, died_at, stage, reason, attempts, detail, retried_at, retried_by, dropped_at, dropped_by, dropped_why
FROM dead_letter
WHERE ($1::text IS NULL OR stage = $1) AND ($2::text IS NULL OR reason = $2) AND ($3::date IS NULL OR crash_day = $3)
    AND CASE WHEN dropped_at IS NOT NULL THEN 'dropped' WHEN retried_at IS NOT NULL THEN 'retried' ELSE 'dead' END = $4
    AND ($5::date IS NULL OR (crash_day, crash_id) > ($5, $6::uuid))
ORDER BY crash_day, crash_id
LIMIT $7
