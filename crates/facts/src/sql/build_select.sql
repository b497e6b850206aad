SELECT k.n, d.build_key::int4
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (product, channel, build_id, n)
JOIN dim_product p ON p.name = k.product
JOIN dim_channel c ON c.name = k.channel
JOIN dim_build d
    ON (d.product_id, d.channel_id, d.build_id, d.platform) = (p.product_id, c.channel_id, k.build_id, '')
