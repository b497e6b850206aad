INSERT INTO dim_product (name)
SELECT k.name
FROM unnest($1::text[]) WITH ORDINALITY AS k (name, n)
ORDER BY k.n
ON CONFLICT DO NOTHING
