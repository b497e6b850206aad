SELECT
    (SELECT max(end_day) FROM partition_range('fact_crash')) AS partitions_end,
    (SELECT count(*) FROM dead_letter) AS dead_letters
