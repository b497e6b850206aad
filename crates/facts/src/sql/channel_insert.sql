-- Clients name these freely, and the key is a smallint: past the limit a new one counts as unknown.
INSERT INTO dim_channel (name)
SELECT k.name
FROM unnest($1::text[]) WITH ORDINALITY AS k (name, n)
WHERE (SELECT count(*) FROM dim_channel) < 10000
ORDER BY k.n
ON CONFLICT DO NOTHING
