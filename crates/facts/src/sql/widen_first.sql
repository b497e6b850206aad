-- Rarely anything to do: crashes mostly come in the order of their time. Locked in order, for savers that do meet.
WITH earlier AS (
    SELECT d.signature_id, n.first_seen, n.first_build, n.first_crash_id
    FROM unnest($1::int[], $2::timestamptz[], $3::text[], $4::uuid[])
        AS n (signature_id, first_seen, first_build, first_crash_id)
    JOIN dim_signature d USING (signature_id)
    WHERE d.first_seen > n.first_seen
    ORDER BY d.signature_id
    FOR NO KEY UPDATE OF d
)
UPDATE dim_signature d
SET first_seen = e.first_seen, first_build = e.first_build, first_crash_id = e.first_crash_id
FROM earlier e
WHERE d.signature_id = e.signature_id AND d.first_seen > e.first_seen
