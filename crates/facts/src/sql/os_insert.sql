INSERT INTO dim_os (family, version, label)
SELECT k.family, k.version, k.label
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (family, version, label, n)
ORDER BY k.n
ON CONFLICT DO NOTHING
