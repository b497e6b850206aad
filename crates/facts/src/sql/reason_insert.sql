INSERT INTO dim_reason (reason)
SELECT k.reason
FROM unnest($1::text[]) WITH ORDINALITY AS k (reason, n)
ORDER BY k.n
ON CONFLICT DO NOTHING
