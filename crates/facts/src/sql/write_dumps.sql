INSERT INTO fact_dump (
    crash_day, crash_id, dump_name, position, bytes, sha256, walk_status,
    kind_id, signature_id, reason_id, crashing_thread, exploitability, module_ids
)
SELECT
    crash_day, crash_id, dump_name, position, bytes, sha256, walk_status,
    kind_id, signature_id, reason_id, crashing_thread, exploitability, module_ids::int[]
FROM unnest(
    $1::date[], $2::uuid[], $3::text[], $4::smallint[], $5::bigint[], $6::bytea[], $7::text[],
    $8::smallint[], $9::int[], $10::int[], $11::int[], $12::smallint[], $13::text[]
) AS n (
    crash_day, crash_id, dump_name, position, bytes, sha256, walk_status,
    kind_id, signature_id, reason_id, crashing_thread, exploitability, module_ids
)
ORDER BY crash_day, crash_id, position
-- Rows that outlived their crash, as when its partition alone was dropped.
ON CONFLICT (crash_day, crash_id, dump_name) DO UPDATE SET
    position = excluded.position,
    bytes = excluded.bytes,
    sha256 = excluded.sha256,
    walk_status = excluded.walk_status,
    kind_id = excluded.kind_id,
    signature_id = excluded.signature_id,
    reason_id = excluded.reason_id,
    crashing_thread = excluded.crashing_thread,
    exploitability = excluded.exploitability,
    module_ids = excluded.module_ids
