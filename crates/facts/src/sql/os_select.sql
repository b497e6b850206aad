SELECT k.n, d.os_id::int4
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (family, version, n)
JOIN dim_os d USING (family, version)
