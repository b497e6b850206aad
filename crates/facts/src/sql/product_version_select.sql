SELECT k.n, d.product_version_id::int4
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (product, channel, version, n)
JOIN dim_product p ON p.name = k.product
JOIN dim_channel c ON c.name = k.channel
JOIN dim_product_version d ON (d.product_id, d.channel_id, d.version) = (p.product_id, c.channel_id, k.version)
