INSERT INTO dim_product_version (product_id, channel_id, version, release_version, version_key)
SELECT p.product_id, c.channel_id, k.version, k.release_version, k.version_key::int[]
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
    WITH ORDINALITY AS k (product, channel, version, release_version, version_key, n)
JOIN dim_product p ON p.name = k.product
JOIN dim_channel c ON c.name = k.channel
ORDER BY k.n
ON CONFLICT DO NOTHING
