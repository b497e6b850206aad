SELECT k.n, d.product_id::int4
FROM unnest($1::text[]) WITH ORDINALITY AS k (name, n)
JOIN dim_product d USING (name)
