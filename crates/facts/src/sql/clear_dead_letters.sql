DELETE FROM dead_letter
WHERE crash_day = ANY ($1::date[]) AND crash_id = ANY ($2::uuid[])
