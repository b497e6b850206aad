INSERT INTO ruleset (hash, body)
SELECT decode(k.hash, 'hex'), ''
FROM unnest($1::text[]) WITH ORDINALITY AS k (hash, n)
ORDER BY k.n
ON CONFLICT DO NOTHING
