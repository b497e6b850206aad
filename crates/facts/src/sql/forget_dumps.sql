DELETE FROM fact_dump
WHERE crash_day = ANY ($1::date[]) AND crash_id = ANY ($2::uuid[])
