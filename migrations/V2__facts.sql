-- The partition key is crash_day, the UTC day inside the crash id, and never the clock: whoever has the id finds the row, and a
-- crash that is processed twice is one row.
--
-- Partitioned tables have no foreign keys. Measured, they nearly halve what one connection writes, savers would share locks on
-- the rows of dimensions, and each new or dropped partition would lock the dimensions. What they would guard holds without:
-- the numbers come from rows that were committed before, and rows of dimensions are never deleted.

CREATE TABLE fact_crash (
    crash_day date NOT NULL,
    crash_id uuid NOT NULL,
    received_at timestamptz NOT NULL,
    client_crash_at timestamptz,
    started_at timestamptz,
    completed_at timestamptz NOT NULL,
    attempt smallint NOT NULL DEFAULT 1,
    revision int NOT NULL DEFAULT 1,
    product_version_id int NOT NULL,
    build_key int NOT NULL,
    build_day date,
    signature_id int NOT NULL,
    kind_id smallint NOT NULL,
    os_id int NOT NULL,
    cpu_id int NOT NULL DEFAULT 0,
    cores smallint,
    reason_id int NOT NULL DEFAULT 0,
    address numeric(20),
    device_id int NOT NULL DEFAULT 0,
    gpu_id int NOT NULL DEFAULT 0,
    uptime_s int,
    install_age_s bigint,
    last_crash_s bigint,
    install_hash bytea,
    exploitability smallint,
    is_startup bool NOT NULL DEFAULT false,
    is_gc bool,
    mem_avail_virtual bigint,
    mem_avail_physical bigint,
    mem_total_physical bigint,
    oom_alloc bigint,
    sample_rate numeric(7, 6) NOT NULL CHECK (sample_rate > 0 AND sample_rate <= 1),
    success bool NOT NULL,
    duplicate_of uuid,
    hang_id text,
    proto_signature text,
    ruleset_version int NOT NULL DEFAULT 0,
    notes text[] NOT NULL DEFAULT '{}',
    attrs jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (crash_day, crash_id)
) PARTITION BY RANGE (crash_day);
CREATE INDEX ON fact_crash (signature_id, product_version_id, crash_day);
CREATE INDEX ON fact_crash (product_version_id, build_day, crash_day);
CREATE INDEX ON fact_crash USING brin (received_at);
CREATE INDEX ON fact_crash (hang_id) WHERE hang_id IS NOT NULL;
COMMENT ON TABLE fact_crash IS 'One row a crash: the result of the latest processing.';
COMMENT ON COLUMN fact_crash.crash_day IS 'The UTC day in which it was received; it stands in the crash id.';
COMMENT ON COLUMN fact_crash.crash_id IS 'The crash id.';
COMMENT ON COLUMN fact_crash.received_at IS 'When the collector had it.';
COMMENT ON COLUMN fact_crash.client_crash_at IS 'When it happened, by the client''s clock; not to be trusted.';
COMMENT ON COLUMN fact_crash.started_at IS 'When this processing began.';
COMMENT ON COLUMN fact_crash.completed_at IS 'When this processing ended. Of two results the later one stays.';
COMMENT ON COLUMN fact_crash.attempt IS 'How often it was tried, this time included.';
COMMENT ON COLUMN fact_crash.revision IS 'Which result this is: 1 is the first, and each further one that is saved over it counts up.';
COMMENT ON COLUMN fact_crash.product_version_id IS 'Product, channel and version: dim_product_version.';
COMMENT ON COLUMN fact_crash.build_key IS 'The build: dim_build.';
COMMENT ON COLUMN fact_crash.build_day IS 'The day of the build; empty where its id says none.';
COMMENT ON COLUMN fact_crash.signature_id IS 'The signature: dim_signature.';
COMMENT ON COLUMN fact_crash.kind_id IS 'What happened to which process: dim_kind.';
COMMENT ON COLUMN fact_crash.os_id IS 'The operating system: dim_os.';
COMMENT ON COLUMN fact_crash.cpu_id IS 'The machine''s processor: dim_cpu.';
COMMENT ON COLUMN fact_crash.cores IS 'Number of logical processors.';
COMMENT ON COLUMN fact_crash.reason_id IS 'Why the process stopped: dim_reason.';
COMMENT ON COLUMN fact_crash.address IS 'The address that the crash was about.';
COMMENT ON COLUMN fact_crash.device_id IS 'The telephone or tablet: dim_device.';
COMMENT ON COLUMN fact_crash.gpu_id IS 'The graphics processor: dim_gpu.';
COMMENT ON COLUMN fact_crash.uptime_s IS 'How long the process had run, in seconds.';
COMMENT ON COLUMN fact_crash.install_age_s IS 'How long the version had been installed, in seconds.';
COMMENT ON COLUMN fact_crash.last_crash_s IS 'How long ago the installation had crashed before, in seconds.';
COMMENT ON COLUMN fact_crash.install_hash IS 'The same for crashes of one installation: a hash of when it was installed.';
COMMENT ON COLUMN fact_crash.exploitability IS 'Empty unknown, 1 none, 2 interesting, 3 low, 4 medium, 5 high.';
COMMENT ON COLUMN fact_crash.is_startup IS 'Whether the process had run for less than a minute.';
COMMENT ON COLUMN fact_crash.is_gc IS 'Whether it was collecting garbage.';
COMMENT ON COLUMN fact_crash.mem_avail_virtual IS 'Virtual memory that was left, in bytes.';
COMMENT ON COLUMN fact_crash.mem_avail_physical IS 'Physical memory that was left, in bytes.';
COMMENT ON COLUMN fact_crash.mem_total_physical IS 'Physical memory of the machine, in bytes.';
COMMENT ON COLUMN fact_crash.oom_alloc IS 'How much the allocation that failed asked for, in bytes.';
COMMENT ON COLUMN fact_crash.sample_rate IS 'The share of such crashes that is kept: counts are estimated by sum(1/sample_rate).';
COMMENT ON COLUMN fact_crash.success IS 'Whether the main dump was walked, or there was none to walk.';
COMMENT ON COLUMN fact_crash.duplicate_of IS 'The crash that this one most likely repeats.';
COMMENT ON COLUMN fact_crash.hang_id IS 'What the two halves of one hang have in common.';
COMMENT ON COLUMN fact_crash.proto_signature IS 'All frames that the signature was made from.';
COMMENT ON COLUMN fact_crash.ruleset_version IS 'The rules by which it was processed: ruleset.';
COMMENT ON COLUMN fact_crash.notes IS 'What the processor wants a human to know.';
COMMENT ON COLUMN fact_crash.attrs IS 'Public annotations without a column of their own, long values cut.';

-- The position keeps the order of the dumps, the main one first, which their names do not. Names come from clients: the
-- processor keeps those of one crash apart and short.
CREATE TABLE fact_dump (
    crash_day date NOT NULL,
    crash_id uuid NOT NULL,
    dump_name text NOT NULL,
    position smallint NOT NULL,
    bytes bigint,
    sha256 bytea,
    walk_status text NOT NULL,
    kind_id smallint,
    signature_id int,
    reason_id int,
    crashing_thread int,
    exploitability smallint,
    module_ids int[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (crash_day, crash_id, dump_name)
) PARTITION BY RANGE (crash_day);
COMMENT ON TABLE fact_dump IS 'One row a dump of a crash.';
COMMENT ON COLUMN fact_dump.crash_day IS 'The UTC day in which the crash was received.';
COMMENT ON COLUMN fact_dump.crash_id IS 'The crash.';
COMMENT ON COLUMN fact_dump.dump_name IS 'Name of the form field.';
COMMENT ON COLUMN fact_dump.position IS 'Place among the crash''s dumps: 0 is the main one.';
COMMENT ON COLUMN fact_dump.bytes IS 'Size in bytes.';
COMMENT ON COLUMN fact_dump.sha256 IS 'SHA-256 of its bytes.';
COMMENT ON COLUMN fact_dump.walk_status IS 'How its stackwalk ended: ok, empty_dump, bad_minidump, over_limit, timed_out, worker_died.';
COMMENT ON COLUMN fact_dump.kind_id IS 'What happened to which process, where the dump has a kind of its own: dim_kind.';
COMMENT ON COLUMN fact_dump.signature_id IS 'The dump''s signature; the main dump has the crash''s: dim_signature.';
COMMENT ON COLUMN fact_dump.reason_id IS 'Why the process stopped: dim_reason.';
COMMENT ON COLUMN fact_dump.crashing_thread IS 'Index of the thread that crashed, or that asked for the dump.';
COMMENT ON COLUMN fact_dump.exploitability IS 'As in fact_crash.';
COMMENT ON COLUMN fact_dump.module_ids IS 'The modules that were loaded, in rising order: dim_module.';

CREATE TABLE crash_addon (
    crash_day date NOT NULL,
    crash_id uuid NOT NULL,
    addon_ids int[] NOT NULL,
    PRIMARY KEY (crash_day, crash_id)
) PARTITION BY RANGE (crash_day);
COMMENT ON TABLE crash_addon IS 'The add-ons of a crash.';
COMMENT ON COLUMN crash_addon.crash_day IS 'The UTC day in which the crash was received.';
COMMENT ON COLUMN crash_addon.crash_id IS 'The crash.';
COMMENT ON COLUMN crash_addon.addon_ids IS 'The add-ons that were installed: dim_addon.';

CREATE TABLE crash_private (
    crash_day date NOT NULL,
    crash_id uuid NOT NULL,
    url text,
    email text,
    comments text,
    extra jsonb,
    PRIMARY KEY (crash_day, crash_id)
) PARTITION BY RANGE (crash_day);
COMMENT ON TABLE crash_private IS 'What can identify a person, for search. Filled only where an operator switches that on.';
COMMENT ON COLUMN crash_private.crash_day IS 'The UTC day in which the crash was received.';
COMMENT ON COLUMN crash_private.crash_id IS 'The crash.';
COMMENT ON COLUMN crash_private.url IS 'The page that was open.';
COMMENT ON COLUMN crash_private.email IS 'How the person can be reached.';
COMMENT ON COLUMN crash_private.comments IS 'What the person said.';
COMMENT ON COLUMN crash_private.extra IS 'All other private annotations.';

CREATE TABLE crash_reject (
    crash_day date NOT NULL,
    crash_id uuid NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    reasons text[] NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (crash_day, crash_id)
) PARTITION BY RANGE (crash_day);
COMMENT ON TABLE crash_reject IS 'Crashes that were processed and found to be none.';
COMMENT ON COLUMN crash_reject.crash_day IS 'The UTC day in which the crash was received.';
COMMENT ON COLUMN crash_reject.crash_id IS 'The crash.';
COMMENT ON COLUMN crash_reject.rejected_at IS 'When it was rejected.';
COMMENT ON COLUMN crash_reject.reasons IS 'Why.';
COMMENT ON COLUMN crash_reject.detail IS 'What else is known.';

CREATE TABLE fact_adi (
    day date NOT NULL,
    product_version_id int NOT NULL,
    build_key int,
    build_day date NOT NULL DEFAULT '-infinity',
    os_family text NOT NULL DEFAULT 'Unknown',
    adi bigint NOT NULL,
    source text NOT NULL DEFAULT 'feed',
    loaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, product_version_id, build_day, os_family)
) PARTITION BY RANGE (day);
COMMENT ON TABLE fact_adi IS 'Active daily installations.';
COMMENT ON COLUMN fact_adi.day IS 'The UTC day.';
COMMENT ON COLUMN fact_adi.product_version_id IS 'Product, channel and version: dim_product_version.';
COMMENT ON COLUMN fact_adi.build_key IS 'The build, where the count is by build: dim_build.';
COMMENT ON COLUMN fact_adi.build_day IS 'The day of the build; -infinity where the count is of all builds.';
COMMENT ON COLUMN fact_adi.os_family IS 'Operating system, as in dim_os.family.';
COMMENT ON COLUMN fact_adi.adi IS 'How many installations were active.';
COMMENT ON COLUMN fact_adi.source IS 'Where the count comes from.';
COMMENT ON COLUMN fact_adi.loaded_at IS 'When it was loaded.';

INSERT INTO schema_compatibility (version, oldest_release) VALUES (2, 2);
