SELECT k.n, d.device_id::int4
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS k (manufacturer, model, os_release, abi, n)
JOIN dim_device d USING (manufacturer, model, os_release, abi)
