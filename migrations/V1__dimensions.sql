-- Everything stands in the schema `public`, so that a plain psql session sees it without a search path.
--
-- Row 0 of a dimension is its named "unknown": a fact always joins, and an unknown stays one row whatever was not known.
-- Identifiers are never changed and rows never deleted, which is why programs may keep them for as long as they run.

CREATE TABLE schema_compatibility (
    version int PRIMARY KEY,
    oldest_release int NOT NULL CHECK (oldest_release <= version),
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE schema_compatibility IS 'One row a migration; the one with the highest version says what the schema is and who may use it.';
COMMENT ON COLUMN schema_compatibility.version IS 'Number of the migration.';
COMMENT ON COLUMN schema_compatibility.oldest_release IS 'A release may run on this schema when the newest migration that it was built with is at least this one.';
COMMENT ON COLUMN schema_compatibility.applied_at IS 'When the migration was applied.';
INSERT INTO schema_compatibility (version, oldest_release) VALUES (1, 1);

CREATE TABLE dim_product (
    product_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    sort int NOT NULL DEFAULT 0,
    active bool NOT NULL DEFAULT true
);
COMMENT ON TABLE dim_product IS 'Products.';
COMMENT ON COLUMN dim_product.product_id IS 'Surrogate key.';
COMMENT ON COLUMN dim_product.name IS 'The product, as its crashes name it.';
COMMENT ON COLUMN dim_product.sort IS 'Place in lists, small first.';
COMMENT ON COLUMN dim_product.active IS 'Whether lists show it.';
INSERT INTO dim_product (product_id, name, sort) OVERRIDING SYSTEM VALUE VALUES (0, 'unknown', 1000000);

CREATE TABLE dim_channel (
    channel_id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    sort smallint NOT NULL DEFAULT 0,
    visible_days smallint NOT NULL DEFAULT 63,
    build_window_days smallint NOT NULL DEFAULT 7,
    build_report bool NOT NULL DEFAULT false
);
COMMENT ON TABLE dim_channel IS 'Release channels. At most 10,000: clients name them, and a further one counts as unknown.';
COMMENT ON COLUMN dim_channel.channel_id IS 'Surrogate key.';
COMMENT ON COLUMN dim_channel.name IS 'The channel, as crashes name it: release, beta, nightly, ...';
COMMENT ON COLUMN dim_channel.sort IS 'Place in lists, small first.';
COMMENT ON COLUMN dim_channel.visible_days IS 'How many days a version of this channel is shown by default.';
COMMENT ON COLUMN dim_channel.build_window_days IS 'In reports by build day a crash counts for so many days from the day of its build.';
COMMENT ON COLUMN dim_channel.build_report IS 'Whether reports of this channel go by build day and not by clock time.';
INSERT INTO dim_channel (channel_id, name, sort) OVERRIDING SYSTEM VALUE VALUES (0, 'unknown', 1000);

CREATE TABLE dim_product_version (
    product_version_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id int NOT NULL REFERENCES dim_product,
    channel_id smallint NOT NULL REFERENCES dim_channel,
    version text NOT NULL,
    release_version text NOT NULL,
    version_key int[] NOT NULL,
    rollup_id int REFERENCES dim_product_version,
    is_rollup bool NOT NULL DEFAULT false,
    visible_from date,
    visible_to date,
    featured bool NOT NULL DEFAULT false,
    origin text NOT NULL DEFAULT 'observed' CHECK (origin IN ('observed', 'release_feed', 'manual')),
    UNIQUE (product_id, channel_id, version)
);
CREATE INDEX ON dim_product_version (rollup_id) WHERE rollup_id IS NOT NULL;
COMMENT ON TABLE dim_product_version IS 'Versions of products by channel, and roll-ups of them.';
COMMENT ON COLUMN dim_product_version.product_version_id IS 'Surrogate key.';
COMMENT ON COLUMN dim_product_version.product_id IS 'The product.';
COMMENT ON COLUMN dim_product_version.channel_id IS 'The channel.';
COMMENT ON COLUMN dim_product_version.version IS 'The version, as crashes name it: 128.0b3.';
COMMENT ON COLUMN dim_product_version.release_version IS 'The release that it leads to: 128.0.';
COMMENT ON COLUMN dim_product_version.version_key IS 'Sorts versions: their numbers, -3 for alpha, -2 for beta, -1 for a candidate, 0 at the end.';
COMMENT ON COLUMN dim_product_version.rollup_id IS 'The roll-up that it is a member of.';
COMMENT ON COLUMN dim_product_version.is_rollup IS 'Whether this row stands for its members and has no crash of its own.';
COMMENT ON COLUMN dim_product_version.visible_from IS 'First day on which reports show it; empty: no limit.';
COMMENT ON COLUMN dim_product_version.visible_to IS 'Last day on which reports show it; empty: no limit.';
COMMENT ON COLUMN dim_product_version.featured IS 'Whether it is shown before others.';
COMMENT ON COLUMN dim_product_version.origin IS 'Who told of it: a crash, a release feed, or a person.';
INSERT INTO dim_product_version (product_version_id, product_id, channel_id, version, release_version, version_key)
    OVERRIDING SYSTEM VALUE VALUES (0, 0, 0, 'unknown', 'unknown', '{0}');

CREATE TABLE dim_build (
    build_key int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id int NOT NULL REFERENCES dim_product,
    channel_id smallint NOT NULL REFERENCES dim_channel,
    build_id text NOT NULL,
    build_day date,
    product_version_id int REFERENCES dim_product_version,
    platform text NOT NULL DEFAULT '',
    repository text NOT NULL DEFAULT '',
    UNIQUE (product_id, channel_id, build_id, platform)
);
COMMENT ON TABLE dim_build IS 'Builds of products.';
COMMENT ON COLUMN dim_build.build_key IS 'Surrogate key.';
COMMENT ON COLUMN dim_build.product_id IS 'The product.';
COMMENT ON COLUMN dim_build.channel_id IS 'The channel.';
COMMENT ON COLUMN dim_build.build_id IS 'The build id, as crashes name it.';
COMMENT ON COLUMN dim_build.build_day IS 'The day of the build, where the first eight digits of the id say it.';
COMMENT ON COLUMN dim_build.product_version_id IS 'The version that the build is of; the one of the first crash until a release feed knows better.';
COMMENT ON COLUMN dim_build.platform IS 'The platform, where a release feed tells builds of one id apart by it.';
COMMENT ON COLUMN dim_build.repository IS 'The repository that it was built from.';
INSERT INTO dim_build (build_key, product_id, channel_id, build_id, product_version_id)
    OVERRIDING SYSTEM VALUE VALUES (0, 0, 0, 'unknown', 0);

CREATE TABLE dim_signature (
    signature_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    signature text NOT NULL UNIQUE CHECK (octet_length(signature) <= 1024),
    first_seen timestamptz NOT NULL,
    first_build text,
    first_crash_id uuid
);
COMMENT ON TABLE dim_signature IS 'The names under which crashes are grouped.';
COMMENT ON COLUMN dim_signature.signature_id IS 'Surrogate key.';
COMMENT ON COLUMN dim_signature.signature IS 'The signature, at most 1,024 bytes.';
COMMENT ON COLUMN dim_signature.first_seen IS 'When the earliest crash that ever had it was received; reprocessing that crash under another name does not take it back.';
COMMENT ON COLUMN dim_signature.first_build IS 'Build id of that crash.';
COMMENT ON COLUMN dim_signature.first_crash_id IS 'That crash.';
-- The epoch, so that "unknown" is never a new signature.
INSERT INTO dim_signature (signature_id, signature, first_seen)
    OVERRIDING SYSTEM VALUE VALUES (0, 'unknown', '1970-01-01Z');

CREATE TABLE signature_first (
    signature_id int NOT NULL REFERENCES dim_signature,
    product_version_id int NOT NULL REFERENCES dim_product_version,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    PRIMARY KEY (signature_id, product_version_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE signature_first IS 'From when to when a version had a signature. It only ever widens.';
COMMENT ON COLUMN signature_first.signature_id IS 'The signature.';
COMMENT ON COLUMN signature_first.product_version_id IS 'The version.';
COMMENT ON COLUMN signature_first.first_seen IS 'When the earliest such crash was received.';
COMMENT ON COLUMN signature_first.last_seen IS 'When the latest such crash was received.';

CREATE TABLE dim_os (
    os_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    family text NOT NULL,
    version text NOT NULL DEFAULT '',
    label text NOT NULL,
    UNIQUE (family, version)
);
COMMENT ON TABLE dim_os IS 'Operating systems.';
COMMENT ON COLUMN dim_os.os_id IS 'Surrogate key.';
COMMENT ON COLUMN dim_os.family IS 'Windows, macOS, Linux, Android, iOS, ... or Unknown.';
COMMENT ON COLUMN dim_os.version IS 'Its version, as detailed as dumps have it.';
COMMENT ON COLUMN dim_os.label IS 'The two in words that people use.';
INSERT INTO dim_os (os_id, family, version, label) OVERRIDING SYSTEM VALUE VALUES (0, 'Unknown', '', 'Unknown');

CREATE TABLE dim_cpu (
    cpu_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    arch text NOT NULL,
    model text NOT NULL DEFAULT '',
    UNIQUE (arch, model)
);
COMMENT ON TABLE dim_cpu IS 'Processors of machines.';
COMMENT ON COLUMN dim_cpu.cpu_id IS 'Surrogate key.';
COMMENT ON COLUMN dim_cpu.arch IS 'amd64, x86, arm64, ...';
COMMENT ON COLUMN dim_cpu.model IS 'Vendor, family, model and stepping.';
INSERT INTO dim_cpu (cpu_id, arch) OVERRIDING SYSTEM VALUE VALUES (0, 'unknown');

CREATE TABLE dim_reason (
    reason_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reason text NOT NULL UNIQUE
);
COMMENT ON TABLE dim_reason IS 'Why processes stopped.';
COMMENT ON COLUMN dim_reason.reason_id IS 'Surrogate key.';
COMMENT ON COLUMN dim_reason.reason IS 'The exception or signal, such as SIGSEGV / SEGV_MAPERR.';
INSERT INTO dim_reason (reason_id, reason) OVERRIDING SYSTEM VALUE VALUES (0, 'unknown');

CREATE TABLE dim_kind (
    kind_id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    process_type text NOT NULL,
    event text NOT NULL CHECK (event IN ('crash', 'hang', 'oom', 'assert', 'java', 'other')),
    counts_in_rate bool NOT NULL DEFAULT true,
    UNIQUE (process_type, event)
);
COMMENT ON TABLE dim_kind IS 'What happened to which process. At most 10,000: clients name processes, and a further one counts as unknown.';
COMMENT ON COLUMN dim_kind.kind_id IS 'Surrogate key.';
COMMENT ON COLUMN dim_kind.process_type IS 'Which process of the product: parent, content, gpu, ...';
COMMENT ON COLUMN dim_kind.event IS 'What happened to it.';
COMMENT ON COLUMN dim_kind.counts_in_rate IS 'Whether it counts in crashes per active installation.';
INSERT INTO dim_kind (kind_id, process_type, event) OVERRIDING SYSTEM VALUE VALUES (0, 'unknown', 'crash');

CREATE TABLE dim_device (
    device_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    manufacturer text NOT NULL DEFAULT '',
    model text NOT NULL DEFAULT '',
    os_release text NOT NULL DEFAULT '',
    abi text NOT NULL DEFAULT '',
    UNIQUE (manufacturer, model, os_release, abi)
);
COMMENT ON TABLE dim_device IS 'Telephones and tablets.';
COMMENT ON COLUMN dim_device.device_id IS 'Surrogate key.';
COMMENT ON COLUMN dim_device.manufacturer IS 'Who made it.';
COMMENT ON COLUMN dim_device.model IS 'The model.';
COMMENT ON COLUMN dim_device.os_release IS 'Its system''s release.';
COMMENT ON COLUMN dim_device.abi IS 'The binary interface of the program.';
INSERT INTO dim_device (device_id, manufacturer) OVERRIDING SYSTEM VALUE VALUES (0, 'unknown');

CREATE TABLE dim_gpu (
    gpu_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vendor text NOT NULL DEFAULT '',
    device text NOT NULL DEFAULT '',
    vendor_label text,
    device_label text,
    UNIQUE (vendor, device)
);
COMMENT ON TABLE dim_gpu IS 'Graphics processors.';
COMMENT ON COLUMN dim_gpu.gpu_id IS 'Surrogate key.';
COMMENT ON COLUMN dim_gpu.vendor IS 'The vendor''s id or name, as clients send it.';
COMMENT ON COLUMN dim_gpu.device IS 'The device''s id or name, as clients send it.';
COMMENT ON COLUMN dim_gpu.vendor_label IS 'The vendor in words.';
COMMENT ON COLUMN dim_gpu.device_label IS 'The device in words.';
INSERT INTO dim_gpu (gpu_id, vendor) OVERRIDING SYSTEM VALUE VALUES (0, 'unknown');

CREATE TABLE dim_module (
    module_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    filename text NOT NULL,
    version text NOT NULL DEFAULT '',
    debug_id text NOT NULL DEFAULT '',
    code_id text NOT NULL DEFAULT '',
    UNIQUE (filename, version, debug_id, code_id)
);
COMMENT ON TABLE dim_module IS 'Modules that were loaded in crashed processes.';
COMMENT ON COLUMN dim_module.module_id IS 'Surrogate key.';
COMMENT ON COLUMN dim_module.filename IS 'File name of the code file, without folders.';
COMMENT ON COLUMN dim_module.version IS 'Its version, where the platform records it.';
COMMENT ON COLUMN dim_module.debug_id IS 'Identifies the debug file.';
COMMENT ON COLUMN dim_module.code_id IS 'Identifies the code file.';

CREATE TABLE dim_addon (
    addon_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    addon_key text NOT NULL,
    version text NOT NULL DEFAULT '',
    UNIQUE (addon_key, version)
);
COMMENT ON TABLE dim_addon IS 'Add-ons that were installed where a crash happened.';
COMMENT ON COLUMN dim_addon.addon_id IS 'Surrogate key.';
COMMENT ON COLUMN dim_addon.addon_key IS 'The add-on''s own id.';
COMMENT ON COLUMN dim_addon.version IS 'Its version.';

CREATE TABLE uptime_bucket (
    bucket smallint PRIMARY KEY,
    label text NOT NULL,
    secs int4range NOT NULL
);
COMMENT ON TABLE uptime_bucket IS 'The ranges into which reports sort uptimes.';
COMMENT ON COLUMN uptime_bucket.bucket IS 'Place in lists.';
COMMENT ON COLUMN uptime_bucket.label IS 'The range in words.';
COMMENT ON COLUMN uptime_bucket.secs IS 'The range in seconds.';
INSERT INTO uptime_bucket VALUES
    (0, '< 1 min', '[0,60)'),
    (1, '1-5 min', '[60,300)'),
    (2, '5-15 min', '[300,900)'),
    (3, '15-60 min', '[900,3600)'),
    (4, '1-24 h', '[3600,86400)'),
    (5, '> 24 h', '[86400,)');

CREATE TABLE ruleset (
    ruleset_version int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash bytea NOT NULL UNIQUE,
    first_used timestamptz NOT NULL DEFAULT now(),
    body text NOT NULL
);
COMMENT ON TABLE ruleset IS 'The rule sets by which crashes were processed.';
COMMENT ON COLUMN ruleset.ruleset_version IS 'Surrogate key.';
COMMENT ON COLUMN ruleset.hash IS 'Hash over files, lists and tables of the rule set; empty when the processor named none.';
COMMENT ON COLUMN ruleset.first_used IS 'When the first crash processed by it was saved.';
COMMENT ON COLUMN ruleset.body IS 'The rule set as text; empty until whoever loads the rules has stored it.';
INSERT INTO ruleset (ruleset_version, hash, body) OVERRIDING SYSTEM VALUE VALUES (0, '', '');

-- A report version and the versions that it sums: itself, or the members of a roll-up.
CREATE VIEW v_member AS
    SELECT product_version_id AS report_pv, product_version_id AS member_pv FROM dim_product_version WHERE NOT is_rollup
    UNION ALL
    SELECT rollup_id, product_version_id FROM dim_product_version WHERE rollup_id IS NOT NULL;
COMMENT ON VIEW v_member IS 'Report versions and the versions that each of them sums: itself, or the members of a roll-up.';
COMMENT ON COLUMN v_member.report_pv IS 'The version that a report is about.';
COMMENT ON COLUMN v_member.member_pv IS 'A version whose crashes count in it.';
