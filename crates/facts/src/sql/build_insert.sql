INSERT INTO dim_build (product_id, channel_id, build_id, build_day, product_version_id)
SELECT p.product_id, c.channel_id, k.build_id, nullif(k.build_day, '')::date, v.product_version_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
    WITH ORDINALITY AS k (product, channel, build_id, build_day, version, n)
JOIN dim_product p ON p.name = k.product
JOIN dim_channel c ON c.name = k.channel
LEFT JOIN dim_product_version v
    ON (v.product_id, v.channel_id, v.version) = (p.product_id, c.channel_id, k.version)
ORDER BY k.n
ON CONFLICT DO NOTHING
