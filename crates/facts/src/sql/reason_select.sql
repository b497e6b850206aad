SELECT k.n, d.reason_id::int4
FROM unnest($1::text[]) WITH ORDINALITY AS k (reason, n)
JOIN dim_reason d USING (reason)
