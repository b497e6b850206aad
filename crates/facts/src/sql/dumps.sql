SELECT d.dump_name, d.bytes, encode(d.sha256, 'hex') AS sha256, d.walk_status, r.reason, d.crashing_thread,
    cardinality(d.module_ids) AS modules
FROM fact_dump d
LEFT JOIN dim_reason r USING (reason_id)
WHERE d.crash_day = $1 AND d.crash_id = $2
ORDER BY d.position
