-- What jobs and processors tell one another, and what operators decide. The read-only schema `reporting` and the roles for
-- analysts come with the first report.

CREATE TABLE job_run (
    job text NOT NULL,
    day date NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'running', 'ok', 'failed', 'skipped')),
    attempt int NOT NULL DEFAULT 0,
    next_try timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    rows bigint,
    error text,
    PRIMARY KEY (job, day)
);
COMMENT ON TABLE job_run IS 'Timed jobs and what became of them.';
COMMENT ON COLUMN job_run.job IS 'The job.';
COMMENT ON COLUMN job_run.day IS 'The day that it works on.';
COMMENT ON COLUMN job_run.state IS 'Where it stands. A job without input is pending and never ok.';
COMMENT ON COLUMN job_run.attempt IS 'How often it was tried.';
COMMENT ON COLUMN job_run.next_try IS 'When it is tried again.';
COMMENT ON COLUMN job_run.started_at IS 'When the latest try began.';
COMMENT ON COLUMN job_run.finished_at IS 'When the latest try ended.';
COMMENT ON COLUMN job_run.rows IS 'How many rows it wrote.';
COMMENT ON COLUMN job_run.error IS 'Why it failed.';

CREATE TABLE dirty_day (
    day date NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    why text NOT NULL,
    PRIMARY KEY (day, why)
);
COMMENT ON TABLE dirty_day IS 'Days whose rollups must be computed again. A save adds the mark in its transaction unless it is there; so whoever takes a mark deletes it, commits, waits until the transactions that ran then are over, and only then reads the facts.';
COMMENT ON COLUMN dirty_day.day IS 'The UTC day.';
COMMENT ON COLUMN dirty_day.since IS 'When it was first marked.';
COMMENT ON COLUMN dirty_day.why IS 'What touched it: saved, reprocessed, ...';

CREATE TABLE crash_attempt (
    crash_day date NOT NULL,
    crash_id uuid NOT NULL,
    attempt smallint NOT NULL,
    at timestamptz NOT NULL,
    node text NOT NULL,
    stage text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('retry', 'dead')),
    reason text NOT NULL,
    detail text,
    PRIMARY KEY (crash_day, crash_id, attempt)
) PARTITION BY RANGE (crash_day);
COMMENT ON TABLE crash_attempt IS 'Attempts at a crash that failed.';
COMMENT ON COLUMN crash_attempt.crash_day IS 'The UTC day in which the crash was received.';
COMMENT ON COLUMN crash_attempt.crash_id IS 'The crash.';
COMMENT ON COLUMN crash_attempt.attempt IS 'Which attempt, from 1.';
COMMENT ON COLUMN crash_attempt.at IS 'When it failed.';
COMMENT ON COLUMN crash_attempt.node IS 'On which processor.';
COMMENT ON COLUMN crash_attempt.stage IS 'At which stage.';
COMMENT ON COLUMN crash_attempt.outcome IS 'What became of the crash: tried again, or given up.';
COMMENT ON COLUMN crash_attempt.reason IS 'Why, as one of a small set of words.';
COMMENT ON COLUMN crash_attempt.detail IS 'Why, in full.';

CREATE TABLE dead_letter (
    crash_day date NOT NULL,
    crash_id uuid NOT NULL,
    died_at timestamptz NOT NULL,
    stage text NOT NULL,
    reason text NOT NULL,
    attempts smallint NOT NULL,
    detail text,
    PRIMARY KEY (crash_day, crash_id)
) PARTITION BY RANGE (crash_day);
COMMENT ON TABLE dead_letter IS 'Crashes that were given up. A row goes when the crash is processed after all.';
COMMENT ON COLUMN dead_letter.crash_day IS 'The UTC day in which the crash was received.';
COMMENT ON COLUMN dead_letter.crash_id IS 'The crash.';
COMMENT ON COLUMN dead_letter.died_at IS 'When it was given up.';
COMMENT ON COLUMN dead_letter.stage IS 'At which stage it failed last.';
COMMENT ON COLUMN dead_letter.reason IS 'Why, as one of a small set of words.';
COMMENT ON COLUMN dead_letter.attempts IS 'How often it was tried.';
COMMENT ON COLUMN dead_letter.detail IS 'Why, in full.';

CREATE TABLE annotation_catalog (
    name text PRIMARY KEY,
    type text NOT NULL,
    access text NOT NULL CHECK (access IN ('public', 'protected', 'drop')),
    target text NOT NULL DEFAULT 'attrs',
    max_bytes int,
    keep_days int,
    facet bool NOT NULL DEFAULT false,
    description text
);
COMMENT ON TABLE annotation_catalog IS 'What operators know about annotations.';
COMMENT ON COLUMN annotation_catalog.name IS 'The annotation''s name.';
COMMENT ON COLUMN annotation_catalog.type IS 'What its values are.';
COMMENT ON COLUMN annotation_catalog.access IS 'Who may see it.';
COMMENT ON COLUMN annotation_catalog.target IS 'Where it is stored: fact_crash.attrs, or a column.';
COMMENT ON COLUMN annotation_catalog.max_bytes IS 'Longer values are cut.';
COMMENT ON COLUMN annotation_catalog.keep_days IS 'How long it is kept.';
COMMENT ON COLUMN annotation_catalog.facet IS 'Whether it is counted in agg_facet_day.';
COMMENT ON COLUMN annotation_catalog.description IS 'What it means.';

CREATE TABLE sampling_history (
    product_id int NOT NULL REFERENCES dim_product,
    channel_id smallint NOT NULL REFERENCES dim_channel,
    effective_from timestamptz NOT NULL,
    rate numeric(7, 6) NOT NULL,
    changed_by text NOT NULL,
    PRIMARY KEY (product_id, channel_id, effective_from)
);
COMMENT ON TABLE sampling_history IS 'How sample rates were changed; each crash carries the one that held for it.';
COMMENT ON COLUMN sampling_history.product_id IS 'The product.';
COMMENT ON COLUMN sampling_history.channel_id IS 'The channel.';
COMMENT ON COLUMN sampling_history.effective_from IS 'From when on.';
COMMENT ON COLUMN sampling_history.rate IS 'The share that is kept.';
COMMENT ON COLUMN sampling_history.changed_by IS 'Who changed it.';

CREATE TABLE signature_bug (
    signature_id int NOT NULL REFERENCES dim_signature,
    tracker text NOT NULL,
    bug_id text NOT NULL,
    status text,
    resolution text,
    title text,
    PRIMARY KEY (signature_id, tracker, bug_id)
);
COMMENT ON TABLE signature_bug IS 'Bugs that are about a signature.';
COMMENT ON COLUMN signature_bug.signature_id IS 'The signature.';
COMMENT ON COLUMN signature_bug.tracker IS 'The bug tracker.';
COMMENT ON COLUMN signature_bug.bug_id IS 'The bug''s id there.';
COMMENT ON COLUMN signature_bug.status IS 'Its status.';
COMMENT ON COLUMN signature_bug.resolution IS 'Its resolution.';
COMMENT ON COLUMN signature_bug.title IS 'Its title.';

INSERT INTO schema_compatibility (version, oldest_release) VALUES (4, 4);
