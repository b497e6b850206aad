SELECT k.n, d.channel_id::int4
FROM unnest($1::text[]) WITH ORDINALITY AS k (name, n)
JOIN dim_channel d USING (name)
