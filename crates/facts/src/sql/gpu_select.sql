SELECT k.n, d.gpu_id::int4
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (vendor, device, n)
JOIN dim_gpu d USING (vendor, device)
