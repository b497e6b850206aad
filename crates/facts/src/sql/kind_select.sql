SELECT k.n, d.kind_id::int4
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (process_type, event, n)
JOIN dim_kind d USING (process_type, event)
