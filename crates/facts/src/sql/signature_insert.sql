INSERT INTO dim_signature (signature, first_seen, first_build, first_crash_id)
SELECT k.signature, k.first_seen::timestamptz, k.first_build, k.first_crash_id::uuid
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
    WITH ORDINALITY AS k (signature, first_seen, first_build, first_crash_id, n)
ORDER BY k.n
ON CONFLICT DO NOTHING
