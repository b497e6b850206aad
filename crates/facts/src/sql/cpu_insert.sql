INSERT INTO dim_cpu (arch, model)
SELECT k.arch, k.model
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (arch, model, n)
ORDER BY k.n
ON CONFLICT DO NOTHING
