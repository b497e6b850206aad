-- Letters by stage and reason; the newest three of each as examples.
SELECT stage, reason, count(*), min(died_at), max(died_at),
    (array_agg(crash_id ORDER BY died_at DESC))[1:3]
FROM dead_letter
WHERE ($1::text IS NULL OR stage = $1) AND ($2::text IS NULL OR reason = $2) AND ($3::date IS NULL OR crash_day = $3)
    AND CASE WHEN dropped_at IS NOT NULL THEN 'dropped' WHEN retried_at IS NOT NULL THEN 'retried' ELSE 'dead' END = $4
GROUP BY stage, reason
ORDER BY count(*) DESC, stage, reason
