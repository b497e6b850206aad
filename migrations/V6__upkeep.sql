-- What keeps an installation in order: how timed jobs fare, crashes that are erased, partitions that are on their way out.

-- One row a job and day: of a pass that fails or does nothing, the success before it stays in view.
ALTER TABLE job_run
    ADD COLUMN ok_at timestamptz,
    ADD COLUMN failures int NOT NULL DEFAULT 0;
COMMENT ON COLUMN job_run.ok_at IS 'When a pass of this day ended well, the latest one.';
COMMENT ON COLUMN job_run.failures IS 'How many passes of this day failed.';
COMMENT ON COLUMN job_run.attempt IS 'How often it has failed in a row, and the try that is under way; 0 once it has ended well.';
COMMENT ON COLUMN job_run.rows IS 'How many things its passes of this day have done.';

CREATE TABLE job_memory (
    job text PRIMARY KEY,
    memory jsonb NOT NULL,
    at timestamptz NOT NULL
);
COMMENT ON TABLE job_memory IS 'How far jobs are that go on where they stopped, whoever leads. A job that finds nothing here begins anew.';
COMMENT ON COLUMN job_memory.job IS 'The job.';
COMMENT ON COLUMN job_memory.memory IS 'What it has to know; each job has a form of its own.';
COMMENT ON COLUMN job_memory.at IS 'When it was written.';

-- Erasures are audited: who had what erased, when and why, without anything about a person but a hash.
CREATE TABLE erasure (
    erasure_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    requested_at timestamptz NOT NULL,
    requested_by text NOT NULL,
    node text NOT NULL,
    reason text NOT NULL DEFAULT '',
    installation bytea
);
COMMENT ON TABLE erasure IS 'Requests to erase crashes. Rows are kept: they are the audit.';
COMMENT ON COLUMN erasure.erasure_id IS 'Surrogate key.';
COMMENT ON COLUMN erasure.requested_at IS 'When it was asked for.';
COMMENT ON COLUMN erasure.requested_by IS 'The user of the operating system who asked.';
COMMENT ON COLUMN erasure.node IS 'The machine on which it was asked for.';
COMMENT ON COLUMN erasure.reason IS 'Why, in the words of whoever asked.';
COMMENT ON COLUMN erasure.installation IS 'Of all crashes of an installation: the SHA-256 of what it was named by, else empty.';

-- Written before anything is erased. From the moment that a row is committed no fact of the crash is taken any more.
CREATE TABLE erased_crash (
    crash_day date NOT NULL,
    crash_id uuid NOT NULL,
    erasure_id bigint NOT NULL REFERENCES erasure,
    erased_at timestamptz,
    verified_at timestamptz,
    frames bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    rows bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (crash_day, crash_id, erasure_id)
);
CREATE INDEX ON erased_crash (erasure_id);
CREATE INDEX ON erased_crash (erased_at) WHERE verified_at IS NULL;
COMMENT ON TABLE erased_crash IS 'Crashes that are erased, or are to be: a fact of them is refused.';
COMMENT ON COLUMN erased_crash.crash_day IS 'The UTC day in which the crash was received.';
COMMENT ON COLUMN erased_crash.crash_id IS 'The crash.';
COMMENT ON COLUMN erased_crash.erasure_id IS 'The request.';
COMMENT ON COLUMN erased_crash.erased_at IS 'When all of it was gone; empty while there is something left to do.';
COMMENT ON COLUMN erased_crash.verified_at IS 'When it was looked after once more, once nobody could still be processing it.';
COMMENT ON COLUMN erased_crash.frames IS 'How many frames of it were erased from the crash store.';
COMMENT ON COLUMN erased_crash.bytes IS 'How many bytes these had.';
COMMENT ON COLUMN erased_crash.rows IS 'How many rows of it were deleted here.';

-- An erasure has to find the signatures that name the crash.
CREATE INDEX ON dim_signature (first_crash_id);

-- Dropping a partition is three steps, none of which can be in one transaction with another. A row is written before the first
-- and deleted after the last, so that a partition which somebody else detached, to keep it, is never taken for ours.
CREATE TABLE partition_drop (
    partition oid PRIMARY KEY,
    name text NOT NULL,
    parent text NOT NULL,
    first_day date NOT NULL,
    end_day date NOT NULL,
    bytes bigint NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE partition_drop IS 'Partitions past their retention that are being dropped: detached first, then dropped.';
COMMENT ON COLUMN partition_drop.partition IS 'The partition.';
COMMENT ON COLUMN partition_drop.name IS 'Its name: a number may be given to another table.';
COMMENT ON COLUMN partition_drop.parent IS 'The table that it is a part of.';
COMMENT ON COLUMN partition_drop.first_day IS 'Its first day.';
COMMENT ON COLUMN partition_drop.end_day IS 'The day after its last.';
COMMENT ON COLUMN partition_drop.bytes IS 'What it took, indexes included.';
COMMENT ON COLUMN partition_drop.decided_at IS 'When it was decided.';

INSERT INTO schema_compatibility (version, oldest_release) VALUES (6, 5);
