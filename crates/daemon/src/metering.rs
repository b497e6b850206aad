//! The recorder behind the `metrics` macros, and what every process measures.

use std::time::Duration;

use anyhow::Context as _;
use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::process::ProcessMetrics;
use crate::version::VERSION;

/// From a group commit to a deadline of minutes.
const SECONDS: [f64; 18] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
    300.0,
];

/// From a body of annotations alone to the largest dump that is taken, in powers of four.
const BYTES: [f64; 11] = [
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];

/// For what is neither: batches, frames, threads. Without any, a histogram would be rendered as a summary.
const COUNTS: [f64; 13] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16_384.0];

/// How often the samples of histograms are sorted into their buckets when nobody asks for them.
const UPKEEP: Duration = Duration::from_secs(5);

/// Everything that is measured in this process.
pub(crate) struct Metering {
    handle: PrometheusHandle,
    process: ProcessMetrics,
}

impl Metering {
    /// Makes the `metrics` macros of the whole process record, every metric with the node's name.
    pub(crate) fn install(role: &'static str, node: &str, config_hash: String) -> anyhow::Result<Self> {
        let recorder = PrometheusBuilder::new()
            .add_global_label("node", node)
            .set_buckets(&COUNTS)?
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
            .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).context("installing the metrics recorder")?;

        describe_gauge!(
            "crashmill_build_info",
            "Always 1; the labels say which program and configuration run."
        );
        gauge!(
            "crashmill_build_info",
            "version" => VERSION.version,
            "commit" => VERSION.commit,
            "config_hash" => config_hash,
            "role" => role,
        )
        .set(1.0);
        Ok(Self { handle, process: ProcessMetrics::of(role) })
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        self.process.refresh();
        self.handle.render()
    }

    /// Keeps histograms from growing while nobody scrapes. Never ends.
    pub(crate) async fn keep_up(&self) {
        let mut interval = tokio::time::interval(UPKEEP);
        loop {
            interval.tick().await;
            self.handle.run_upkeep();
        }
    }
}

/// Twelve hex digits that are the same wherever the same configuration runs; secrets are no part of it.
pub(crate) fn config_hash<C: Serialize>(config: &C) -> String {
    let digest = Sha256::digest(settings::show(config));
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use settings::Secret;

    #[derive(Serialize)]
    struct Section {
        size: u32,
        password: Secret,
    }

    #[test]
    fn the_configuration_hash_follows_the_values_but_not_the_secrets() {
        let hash = |size, password| config_hash(&Section { size, password: Secret::new(password) });
        assert_eq!(hash(1, "a").len(), 12);
        assert_eq!(hash(1, "a"), hash(1, "b"));
        assert_ne!(hash(1, "a"), hash(2, "a"));
    }
}
