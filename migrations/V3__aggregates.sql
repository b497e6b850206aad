-- Rollups of the facts, computed by the scheduler and equal to a rebuild from the facts at any time.

CREATE TABLE agg_sig_day (
    day date NOT NULL,
    product_version_id int NOT NULL,
    build_day date NOT NULL DEFAULT '-infinity',
    signature_id int NOT NULL,
    os_family text NOT NULL,
    kind_id smallint NOT NULL,
    crashes int NOT NULL,
    crashes_est numeric(14, 2) NOT NULL,
    dups int NOT NULL DEFAULT 0,
    startup int NOT NULL DEFAULT 0,
    gc int NOT NULL DEFAULT 0,
    exp_high int NOT NULL DEFAULT 0,
    exp_medium int NOT NULL DEFAULT 0,
    exp_low int NOT NULL DEFAULT 0,
    exp_interesting int NOT NULL DEFAULT 0,
    exp_none int NOT NULL DEFAULT 0,
    exp_null int NOT NULL DEFAULT 0,
    PRIMARY KEY (day, product_version_id, signature_id, build_day, os_family, kind_id)
) PARTITION BY RANGE (day);
CREATE INDEX ON agg_sig_day (product_version_id, build_day, day);
CREATE INDEX ON agg_sig_day (signature_id, day);
COMMENT ON TABLE agg_sig_day IS 'Crashes by day, version, build day, signature, system and kind.';
COMMENT ON COLUMN agg_sig_day.day IS 'The UTC day in which they were received.';
COMMENT ON COLUMN agg_sig_day.product_version_id IS 'Product, channel and version: dim_product_version.';
COMMENT ON COLUMN agg_sig_day.build_day IS 'The day of the build; -infinity is unknown.';
COMMENT ON COLUMN agg_sig_day.signature_id IS 'The signature: dim_signature.';
COMMENT ON COLUMN agg_sig_day.os_family IS 'Operating system, as in dim_os.family.';
COMMENT ON COLUMN agg_sig_day.kind_id IS 'What happened to which process: dim_kind.';
COMMENT ON COLUMN agg_sig_day.crashes IS 'How many crashes are stored.';
COMMENT ON COLUMN agg_sig_day.crashes_est IS 'How many there were, estimated from their sample rates.';
COMMENT ON COLUMN agg_sig_day.dups IS 'How many of the stored ones repeat another.';
COMMENT ON COLUMN agg_sig_day.startup IS 'How many happened within a minute of the start.';
COMMENT ON COLUMN agg_sig_day.gc IS 'How many happened while garbage was collected.';
COMMENT ON COLUMN agg_sig_day.exp_high IS 'How many are highly exploitable.';
COMMENT ON COLUMN agg_sig_day.exp_medium IS 'How many are of medium exploitability.';
COMMENT ON COLUMN agg_sig_day.exp_low IS 'How many are of low exploitability.';
COMMENT ON COLUMN agg_sig_day.exp_interesting IS 'How many are interesting and nothing more.';
COMMENT ON COLUMN agg_sig_day.exp_none IS 'How many are not exploitable.';
COMMENT ON COLUMN agg_sig_day.exp_null IS 'How many are of unknown exploitability.';

CREATE TABLE agg_facet_day (
    day date NOT NULL,
    product_version_id int NOT NULL,
    signature_id int NOT NULL,
    facet text NOT NULL,
    value text NOT NULL,
    crashes int NOT NULL,
    installs int,
    PRIMARY KEY (day, signature_id, facet, product_version_id, value)
) PARTITION BY RANGE (day);
COMMENT ON TABLE agg_facet_day IS 'Crashes of a signature by the values of a facet.';
COMMENT ON COLUMN agg_facet_day.day IS 'The UTC day in which they were received.';
COMMENT ON COLUMN agg_facet_day.product_version_id IS 'Product, channel and version: dim_product_version.';
COMMENT ON COLUMN agg_facet_day.signature_id IS 'The signature: dim_signature.';
COMMENT ON COLUMN agg_facet_day.facet IS 'What is looked at: os, uptime, process, or a name of annotation_catalog.';
COMMENT ON COLUMN agg_facet_day.value IS 'The facet''s value.';
COMMENT ON COLUMN agg_facet_day.crashes IS 'How many crashes are stored.';
COMMENT ON COLUMN agg_facet_day.installs IS 'On how many installations; days do not add up.';

CREATE TABLE agg_explosive (
    day date NOT NULL,
    product_version_id int NOT NULL,
    signature_id int NOT NULL,
    oneday numeric(12, 2),
    threeday numeric(12, 2),
    rate_1d numeric(14, 2),
    rate_3d numeric(14, 2),
    rates numeric(14, 2)[] NOT NULL,
    PRIMARY KEY (day, product_version_id, signature_id)
) PARTITION BY RANGE (day);
COMMENT ON TABLE agg_explosive IS 'Signatures that burst.';
COMMENT ON COLUMN agg_explosive.day IS 'The UTC day that was measured.';
COMMENT ON COLUMN agg_explosive.product_version_id IS 'Product, channel and version: dim_product_version.';
COMMENT ON COLUMN agg_explosive.signature_id IS 'The signature: dim_signature.';
COMMENT ON COLUMN agg_explosive.oneday IS 'How far the day stands out from the nine before it.';
COMMENT ON COLUMN agg_explosive.threeday IS 'How far three days stand out from the seven before them.';
COMMENT ON COLUMN agg_explosive.rate_1d IS 'Crashes per million installations on the day.';
COMMENT ON COLUMN agg_explosive.rate_3d IS 'The same, mean of three days.';
COMMENT ON COLUMN agg_explosive.rates IS 'The rates of ten days, the latest first.';

CREATE TABLE agg_correlation (
    day date NOT NULL,
    product_version_id int NOT NULL,
    os_family text NOT NULL,
    signature_id int NOT NULL,
    reason_id int NOT NULL,
    kind text NOT NULL CHECK (kind IN ('module', 'module_version', 'addon', 'addon_version', 'cores', 'attr')),
    item text NOT NULL,
    item_version text NOT NULL DEFAULT '',
    sig_n int NOT NULL,
    sig_item int NOT NULL,
    base_n int NOT NULL,
    base_item int NOT NULL,
    lift real GENERATED ALWAYS AS (sig_item::real / sig_n - base_item::real / base_n) STORED,
    PRIMARY KEY (day, product_version_id, os_family, signature_id, reason_id, kind, item, item_version)
) PARTITION BY RANGE (day);
COMMENT ON TABLE agg_correlation IS 'What the crashes of a signature have in common.';
COMMENT ON COLUMN agg_correlation.day IS 'The UTC day that was measured.';
COMMENT ON COLUMN agg_correlation.product_version_id IS 'Product, channel and version: dim_product_version.';
COMMENT ON COLUMN agg_correlation.os_family IS 'Operating system, as in dim_os.family.';
COMMENT ON COLUMN agg_correlation.signature_id IS 'The signature: dim_signature.';
COMMENT ON COLUMN agg_correlation.reason_id IS 'Why the processes stopped: dim_reason.';
COMMENT ON COLUMN agg_correlation.kind IS 'What sort of thing the item is.';
COMMENT ON COLUMN agg_correlation.item IS 'The module, add-on, number of cores or attribute.';
COMMENT ON COLUMN agg_correlation.item_version IS 'Its version or value.';
COMMENT ON COLUMN agg_correlation.sig_n IS 'Crashes of the signature and reason.';
COMMENT ON COLUMN agg_correlation.sig_item IS 'Those of them with the item.';
COMMENT ON COLUMN agg_correlation.base_n IS 'All crashes of the version on the system.';
COMMENT ON COLUMN agg_correlation.base_item IS 'Those of them with the item.';
COMMENT ON COLUMN agg_correlation.lift IS 'By how much the item is more frequent in the signature than elsewhere.';

INSERT INTO schema_compatibility (version, oldest_release) VALUES (3, 3);
