INSERT INTO dirty_day (day, why)
SELECT day, why
FROM unnest($1::date[], $2::text[]) AS n (day, why)
ORDER BY day, why
ON CONFLICT DO NOTHING
