INSERT INTO dim_device (manufacturer, model, os_release, abi)
SELECT k.manufacturer, k.model, k.os_release, k.abi
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS k (manufacturer, model, os_release, abi, n)
ORDER BY k.n
ON CONFLICT DO NOTHING
