SELECT
    (SELECT max(end_day) FROM partition_range('fact_crash')) AS partitions_end,
    -- As JSON, since an earlier schema does not have these columns.
    (SELECT count(*) FROM dead_letter d
        WHERE to_jsonb(d) ->> 'retried_at' IS NULL AND to_jsonb(d) ->> 'dropped_at' IS NULL) AS dead_letters
