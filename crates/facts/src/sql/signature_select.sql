SELECT k.n, d.signature_id::int4
FROM unnest($1::text[]) WITH ORDINALITY AS k (signature, n)
JOIN dim_signature d USING (signature)
