SELECT k.n, d.module_id::int4
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS k (filename, version, debug_id, code_id, n)
JOIN dim_module d USING (filename, version, debug_id, code_id)
