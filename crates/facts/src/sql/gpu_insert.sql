INSERT INTO dim_gpu (vendor, device)
SELECT k.vendor, k.device
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (vendor, device, n)
ORDER BY k.n
ON CONFLICT DO NOTHING
