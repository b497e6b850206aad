-- Clients name these freely, and the key is a smallint: past the limit a new one counts as unknown.
INSERT INTO dim_kind (process_type, event)
SELECT k.process_type, k.event
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (process_type, event, n)
WHERE (SELECT count(*) FROM dim_kind) < 10000
ORDER BY k.n
ON CONFLICT DO NOTHING
