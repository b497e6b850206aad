INSERT INTO signature_first (signature_id, product_version_id, first_seen, last_seen)
SELECT signature_id, product_version_id, first_seen, last_seen
FROM unnest($1::int[], $2::int[], $3::timestamptz[], $4::timestamptz[])
    AS n (signature_id, product_version_id, first_seen, last_seen)
ORDER BY signature_id, product_version_id
ON CONFLICT (signature_id, product_version_id) DO UPDATE SET
    first_seen = least(signature_first.first_seen, excluded.first_seen),
    last_seen = greatest(signature_first.last_seen, excluded.last_seen)
WHERE signature_first.first_seen > excluded.first_seen OR signature_first.last_seen < excluded.last_seen
