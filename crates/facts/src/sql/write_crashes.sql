INSERT INTO fact_crash (
    crash_day, crash_id, received_at, client_crash_at, started_at, completed_at, attempt,
    product_version_id, build_key, build_day, signature_id, kind_id, os_id, cpu_id, cores, reason_id, address, device_id, gpu_id,
    uptime_s, install_age_s, last_crash_s, install_hash, exploitability, is_startup, is_gc,
    mem_avail_virtual, mem_avail_physical, mem_total_physical, oom_alloc,
    sample_rate, success, duplicate_of, hang_id, proto_signature, ruleset_version, notes, attrs
)
SELECT
    crash_day, crash_id, received_at, client_crash_at, started_at, completed_at, attempt,
    product_version_id, build_key, build_day, signature_id, kind_id, os_id, cpu_id, cores, reason_id, address::numeric, device_id, gpu_id,
    uptime_s, install_age_s, last_crash_s, install_hash, exploitability, is_startup, is_gc,
    mem_avail_virtual, mem_avail_physical, mem_total_physical, oom_alloc,
    sample_rate::numeric(7, 6), success, duplicate_of, hang_id, proto_signature, ruleset_version, notes::text[], attrs
FROM unnest(
    $1::date[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[], $7::smallint[],
    $8::int[], $9::int[], $10::date[], $11::int[], $12::smallint[], $13::int[], $14::int[], $15::smallint[], $16::int[], $17::text[], $18::int[], $19::int[],
    $20::int[], $21::bigint[], $22::bigint[], $23::bytea[], $24::smallint[], $25::bool[], $26::bool[],
    $27::bigint[], $28::bigint[], $29::bigint[], $30::bigint[],
    $31::float8[], $32::bool[], $33::uuid[], $34::text[], $35::text[], $36::int[], $37::text[], $38::jsonb[]
) AS n (
    crash_day, crash_id, received_at, client_crash_at, started_at, completed_at, attempt,
    product_version_id, build_key, build_day, signature_id, kind_id, os_id, cpu_id, cores, reason_id, address, device_id, gpu_id,
    uptime_s, install_age_s, last_crash_s, install_hash, exploitability, is_startup, is_gc,
    mem_avail_virtual, mem_avail_physical, mem_total_physical, oom_alloc,
    sample_rate, success, duplicate_of, hang_id, proto_signature, ruleset_version, notes, attrs
)
-- What is erased does not come back, whoever was still processing it.
WHERE NOT EXISTS (
    SELECT FROM erased_crash e WHERE e.crash_day = n.crash_day AND e.crash_id = n.crash_id)
-- Savers that meet on the same crashes take them in one order.
ORDER BY crash_day, crash_id
ON CONFLICT (crash_day, crash_id) DO UPDATE SET
    received_at = excluded.received_at,
    client_crash_at = excluded.client_crash_at,
    started_at = excluded.started_at,
    completed_at = excluded.completed_at,
    attempt = excluded.attempt,
    revision = fact_crash.revision + 1,
    product_version_id = excluded.product_version_id,
    build_key = excluded.build_key,
    build_day = excluded.build_day,
    signature_id = excluded.signature_id,
    kind_id = excluded.kind_id,
    os_id = excluded.os_id,
    cpu_id = excluded.cpu_id,
    cores = excluded.cores,
    reason_id = excluded.reason_id,
    address = excluded.address,
    device_id = excluded.device_id,
    gpu_id = excluded.gpu_id,
    uptime_s = excluded.uptime_s,
    install_age_s = excluded.install_age_s,
    last_crash_s = excluded.last_crash_s,
    install_hash = excluded.install_hash,
    exploitability = excluded.exploitability,
    is_startup = excluded.is_startup,
    is_gc = excluded.is_gc,
    mem_avail_virtual = excluded.mem_avail_virtual,
    mem_avail_physical = excluded.mem_avail_physical,
    mem_total_physical = excluded.mem_total_physical,
    oom_alloc = excluded.oom_alloc,
    sample_rate = excluded.sample_rate,
    success = excluded.success,
    duplicate_of = excluded.duplicate_of,
    hang_id = excluded.hang_id,
    proto_signature = excluded.proto_signature,
    ruleset_version = excluded.ruleset_version,
    notes = excluded.notes,
    attrs = excluded.attrs
-- A late duplicate of an older attempt leaves the newer result alone.
WHERE fact_crash.completed_at <= excluded.completed_at
RETURNING crash_id, revision = 1
