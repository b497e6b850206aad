SELECT k.n, d.cpu_id::int4
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (arch, model, n)
JOIN dim_cpu d USING (arch, model)
