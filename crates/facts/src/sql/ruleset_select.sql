SELECT k.n, d.ruleset_version::int4
FROM unnest($1::text[]) WITH ORDINALITY AS k (hash, n)
JOIN ruleset d ON d.hash = decode(k.hash, 'hex')
