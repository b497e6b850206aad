//! The whole configuration, and where it comes from.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::{args::Place, standalone::Folder};

/// Every section of `crashmill.toml`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) daemon: daemon::Config,
    pub(crate) collector: collector::Config,
    pub(crate) crashstore: crashstore::Config,
    pub(crate) queue: queue::Config,
    pub(crate) facts: facts::Config,
    pub(crate) processor: processor::Config,
    pub(crate) scheduler: scheduler::Config,
    pub(crate) retention: scheduler::Retention,
    pub(crate) symbols: symbols::Config,
    pub(crate) stackwalk: stackwalk::Config,
}

impl Config {
    /// Reads file and environment, and looks whether what they say makes sense.
    ///
    /// With the folder of a standalone, what neither says comes from that folder.
    pub(crate) fn load(place: &Place) -> anyhow::Result<Self> {
        let config = Self::read(place)?;
        config.check()?;
        Ok(config)
    }

    /// Refuses values that no daemon could work with.
    fn check(&self) -> anyhow::Result<()> {
        self.crashstore.check()?;
        self.queue.check()?;
        self.symbols.check()?;
        let at_least_one = [
            ("processor.save_batch", self.processor.save_batch),
            ("processor.walk_attempts", self.processor.walk_attempts.into()),
            ("stackwalk.workers", self.stackwalk.workers),
            ("facts.pool_size", self.facts.pool_size),
            ("collector.max_connections", self.collector.max_connections),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            bail!("{key} is 0, and nothing would be done: it is at least 1");
        }
        if self.processor.walk_attempts > self.queue.max_attempts {
            bail!(
                "processor.walk_attempts is {}, and queue.max_attempts is only {}: a dump that cannot be walked would \
                 become a dead letter before it is saved without its stacks",
                self.processor.walk_attempts,
                self.queue.max_attempts
            );
        }
        Ok(())
    }

    fn read(place: &Place) -> anyhow::Result<Self> {
        let Some(dir) = &place.data else {
            return Ok(settings::load(place.config.as_deref(), settings::environment())?);
        };
        let folder = Folder::existing(dir)?;
        let file = place.config.clone().unwrap_or_else(|| folder.config_file());
        let said = Said::by(&file)?;
        let mut variables: BTreeMap<String, String> = folder
            .settings()?
            .into_iter()
            .filter(|setting| !said.has(setting.section, setting.key))
            // A store in the folder needs no spool beside it.
            .filter(|setting| setting.key != "spool" || said.has("crashstore", "url"))
            .map(|setting| (setting.variable(), setting.value))
            .collect();
        variables.extend(settings::environment());
        Ok(settings::load(Some(&file), variables.into_iter())?)
    }
}

/// One value of the configuration, as text.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) section: &'static str,
    pub(crate) key: &'static str,
    pub(crate) value: String,
}

impl Setting {
    pub(crate) fn new(section: &'static str, key: &'static str, value: impl Into<String>) -> Self {
        Self { section, key, value: value.into() }
    }

    /// The environment variable that says the same.
    fn variable(&self) -> String {
        variable(self.section, self.key)
    }
}

fn variable(section: &str, key: &str) -> String {
    format!("CRASHMILL__{}__{}", section.to_uppercase(), key.to_uppercase())
}

/// Which keys a configuration file and the environment say.
pub(crate) struct Said(toml::Table);

impl Said {
    pub(crate) fn by(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        // A file that is no TOML is reported, with its line, by whoever loads it in earnest.
        Ok(Self(text.parse().unwrap_or_default()))
    }

    /// Whether the key is said, itself or by a file that holds its value.
    pub(crate) fn has(&self, section: &'static str, key: &'static str) -> bool {
        [key.to_owned(), format!("{key}_file")].iter().any(|key| {
            let in_file = self.0.get(section).and_then(|table| table.get(key)).is_some();
            in_file || std::env::var_os(variable(section, key)).is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crashmill.toml");

    #[test]
    fn the_shipped_configuration_says_the_defaults() {
        let shipped: Config = settings::load(Some(Path::new(EXAMPLE)), std::iter::empty()).unwrap();
        assert_eq!(settings::show(&shipped), settings::show(&Config::default()));
    }

    #[test]
    fn values_that_no_daemon_could_work_with_are_refused_by_their_key() {
        assert!(Config::default().check().is_ok());
        for (variable, key) in [
            ("CRASHMILL__PROCESSOR__SAVE_BATCH", "processor.save_batch"),
            ("CRASHMILL__STACKWALK__WORKERS", "stackwalk.workers"),
            ("CRASHMILL__QUEUE__MAX_ATTEMPTS", "max_attempts"),
        ] {
            let variables = [(variable.to_owned(), "0".to_owned())].into_iter();
            let config: Config = settings::load(Some(Path::new(EXAMPLE)), variables).unwrap();
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        let variables = [("CRASHMILL__PROCESSOR__WALK_ATTEMPTS".to_owned(), "9".to_owned())].into_iter();
        let config: Config = settings::load(Some(Path::new(EXAMPLE)), variables).unwrap();
        assert!(config.check().unwrap_err().to_string().contains("walk_attempts"));
    }

    #[test]
    fn the_shipped_configuration_names_every_key() {
        let text = fs::read_to_string(EXAMPLE).unwrap();
        for line in settings::show(&Config::default()).lines() {
            let Some((key, _)) = line.split_once(" = ") else { continue };
            let named =
                text.lines().any(|line| line.trim_start_matches('#').starts_with(&format!("{key} = ")));
            assert!(named, "{key} is not in deploy/crashmill.toml");
        }
    }
}
