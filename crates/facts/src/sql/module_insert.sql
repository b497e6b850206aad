INSERT INTO dim_module (filename, version, debug_id, code_id)
SELECT k.filename, k.version, k.debug_id, k.code_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS k (filename, version, debug_id, code_id, n)
ORDER BY k.n
ON CONFLICT DO NOTHING
