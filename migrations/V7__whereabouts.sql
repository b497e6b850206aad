-- Where crashes are and who works on them: what a failed attempt waits for, what operators decided about dead letters, what was
-- saved without a part of it, and what each process says of itself.

ALTER TABLE crash_attempt ADD COLUMN due_at timestamptz;
COMMENT ON COLUMN crash_attempt.due_at IS 'When the next attempt is due; NULL where there is none.';

ALTER TABLE dead_letter
    ADD COLUMN retried_at timestamptz,
    ADD COLUMN retried_by text,
    ADD COLUMN dropped_at timestamptz,
    ADD COLUMN dropped_by text,
    ADD COLUMN dropped_why text;
COMMENT ON COLUMN dead_letter.retried_at IS 'When its id was published again by hand; NULL once it has died again.';
COMMENT ON COLUMN dead_letter.retried_by IS 'Who did that.';
COMMENT ON COLUMN dead_letter.dropped_at IS 'When it was given up for good; such a crash is not tried again.';
COMMENT ON COLUMN dead_letter.dropped_by IS 'Who did that.';
COMMENT ON COLUMN dead_letter.dropped_why IS 'Why, in that person''s words.';

CREATE TABLE crash_degraded (
    crash_day date NOT NULL,
    crash_id uuid NOT NULL,
    part text NOT NULL CHECK (part IN ('symbols', 'stacks')),
    since timestamptz NOT NULL,
    at timestamptz NOT NULL,
    tries smallint NOT NULL DEFAULT 0,
    next_try timestamptz,
    detail text,
    PRIMARY KEY (crash_day, crash_id, part)
) PARTITION BY RANGE (crash_day);
CREATE INDEX ON crash_degraded (next_try) WHERE next_try IS NOT NULL;
COMMENT ON TABLE crash_degraded IS 'Crashes that have their fact, and were saved without a part. A row goes when the crash is processed again and lacks nothing.';
COMMENT ON COLUMN crash_degraded.crash_day IS 'The UTC day in which the crash was received.';
COMMENT ON COLUMN crash_degraded.crash_id IS 'The crash.';
COMMENT ON COLUMN crash_degraded.part IS 'What is missing: symbols that a server could not give just then, or the stacks of a dump.';
COMMENT ON COLUMN crash_degraded.since IS 'When it was first saved like that.';
COMMENT ON COLUMN crash_degraded.at IS 'When it was last saved like that.';
COMMENT ON COLUMN crash_degraded.tries IS 'How often the scheduler has published it for reprocessing.';
COMMENT ON COLUMN crash_degraded.next_try IS 'When the scheduler does so next; NULL when it is left to people.';
COMMENT ON COLUMN crash_degraded.detail IS 'Why the part is missing.';

CREATE TABLE node_report (
    role text NOT NULL,
    node text NOT NULL,
    instance text NOT NULL,
    pid int NOT NULL,
    started_at timestamptz NOT NULL,
    at timestamptz NOT NULL,
    version text NOT NULL,
    workers int NOT NULL,
    state text NOT NULL,
    window_s int NOT NULL,
    queues jsonb NOT NULL,
    PRIMARY KEY (role, node, instance)
);
COMMENT ON TABLE node_report IS 'What processes say of themselves every few seconds. Who has said nothing for minutes is gone, and so is the row.';
COMMENT ON COLUMN node_report.role IS 'What the process is: processor, scheduler.';
COMMENT ON COLUMN node_report.node IS 'The node that it is configured to be.';
COMMENT ON COLUMN node_report.instance IS 'Tells apart processes of one node, and one start from the next.';
COMMENT ON COLUMN node_report.pid IS 'Its process id, on its machine.';
COMMENT ON COLUMN node_report.started_at IS 'When it started.';
COMMENT ON COLUMN node_report.at IS 'When it said this.';
COMMENT ON COLUMN node_report.version IS 'The release that it runs.';
COMMENT ON COLUMN node_report.workers IS 'How many crashes it walks at once.';
COMMENT ON COLUMN node_report.state IS 'What it does: working, or waiting and for what.';
COMMENT ON COLUMN node_report.window_s IS 'How many seconds the recent counts in queues are about.';
COMMENT ON COLUMN node_report.queues IS 'By queue: crashes done since the start (done) and recently (recent), the oldest enqueued_at among those taken recently (oldest); of a scheduler the depth (ready), that before (ready_before), and since when it has been above zero (waiting_since).';

INSERT INTO schema_compatibility (version, oldest_release) VALUES (7, 5);
