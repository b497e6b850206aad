-- How far the sweep of the crash store has come, so that the next leader goes on where the last one was.

CREATE TABLE sweep_mark (
    the_only_one bool PRIMARY KEY DEFAULT true CHECK (the_only_one),
    swept_until timestamptz NOT NULL,
    late_until timestamptz NOT NULL
);
COMMENT ON TABLE sweep_mark IS 'How far the sweep has come: one row, and none before the first sweep.';
COMMENT ON COLUMN sweep_mark.the_only_one IS 'There is one row.';
COMMENT ON COLUMN sweep_mark.swept_until IS 'Of every minute before this one all crashes have a result, or it is in sweep_minute.';
COMMENT ON COLUMN sweep_mark.late_until IS 'Crashes that came into minutes before swept_until by this time have been looked for.';

CREATE TABLE sweep_minute (
    minute timestamptz PRIMARY KEY,
    due_at timestamptz NOT NULL,
    waits bool NOT NULL
);
COMMENT ON TABLE sweep_minute IS 'Minutes of the crash store in which some crash has no result yet. A row goes when all have one. Their number is bounded by the sweep.';
COMMENT ON COLUMN sweep_minute.minute IS 'The minute, by its beginning.';
COMMENT ON COLUMN sweep_minute.due_at IS 'When the sweep looks at it again.';
COMMENT ON COLUMN sweep_minute.waits IS 'Whether it was put off because ids waited in the queues: it is due once none waits.';

INSERT INTO schema_compatibility (version, oldest_release) VALUES (8, 5);
