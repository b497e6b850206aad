SELECT
    f.crash_day, f.received_at, f.client_crash_at, f.started_at, f.completed_at, f.attempt,
    p.name AS product, c.name AS channel, v.version, b.build_id, f.build_day,
    s.signature, k.process_type, k.event,
    o.family AS os_family, o.version AS os_version, o.label AS os_label,
    cpu.arch AS cpu_arch, cpu.model AS cpu_model, f.cores,
    r.reason, f.address::text AS address, f.uptime_s, f.install_age_s, f.last_crash_s, f.is_startup, f.oom_alloc,
    f.sample_rate::float8 AS sample_rate, f.success, f.proto_signature, encode(u.hash, 'hex') AS ruleset, f.notes, f.attrs
FROM fact_crash f
JOIN dim_product_version v USING (product_version_id)
JOIN dim_product p USING (product_id)
JOIN dim_channel c USING (channel_id)
JOIN dim_build b USING (build_key)
JOIN dim_signature s USING (signature_id)
JOIN dim_kind k USING (kind_id)
JOIN dim_os o USING (os_id)
JOIN dim_cpu cpu USING (cpu_id)
JOIN dim_reason r USING (reason_id)
JOIN ruleset u USING (ruleset_version)
WHERE f.crash_day = $1 AND f.crash_id = $2
