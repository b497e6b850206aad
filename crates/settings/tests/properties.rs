//! What holds for every configuration, and for every text that is none.

use std::collections::BTreeMap;
use std::fs;
use std::time;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use settings::{Duration, Secret, Size};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    names: BTreeMap<String, Inner>,
    size: Size,
    text: String,
    password: Secret,
    list: Vec<Inner>,
    wait: Duration,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Inner {
    number: i64,
    ratio: f64,
    optional: Option<String>,
    truth: bool,
}

prop_compose! {
    fn inners()(number: i64, ratio in -1e9..1e9_f64, optional: Option<String>, truth: bool) -> Inner {
        Inner { number, ratio, optional, truth }
    }
}

prop_compose! {
    fn configs()(
        names in prop::collection::btree_map(".{0,8}", inners(), 0..4),
        size: u64,
        text: String,
        list in prop::collection::vec(inners(), 0..3),
        wait in 0..10_000_000_000_u64,
    ) -> Config {
        let wait = Duration::from(time::Duration::from_millis(wait));
        Config { names, size: Size::from_bytes(size), text, password: Secret::default(), list, wait }
    }
}

proptest! {
    #[test]
    fn what_is_shown_reads_back_as_the_same_configuration(config in configs()) {
        prop_assert_eq!(load(&settings::show(&config), vec![]).unwrap(), config);
    }

    #[test]
    fn no_file_makes_the_reader_panic(text in "([a-z_]{1,8} ?[=.] ?['\"\\[{]?.{0,6}['\"\\]}]?\n|\\[.{0,8}\\]\n|.{0,12}\n){0,6}") {
        let refused = load(&text, vec![]).err();
        prop_assert!(refused.is_none_or(|error| error.contains("crashmill.toml:")));
    }

    #[test]
    fn no_variable_makes_the_reader_panic(name in "(NAMES|SIZE|LIST|PASSWORD|WAIT)(__.{0,6}){0,3}", text in ".{0,24}") {
        let variable = format!("CRASHMILL__{name}");
        let refused = load("", vec![(variable.clone(), text)]).err();
        prop_assert!(refused.is_none_or(|error| error.starts_with(&variable)));
    }

    #[test]
    fn a_text_reaches_a_text_through_the_environment_as_it_is(text: String) {
        let config = load("", vec![("CRASHMILL__TEXT".to_owned(), text.clone())]).unwrap();
        prop_assert_eq!(config.text, text);
    }

    #[test]
    fn a_secret_reaches_its_field_unchanged_and_is_never_shown(secret in "[A-Z0-9\"'{}\\[\\]=#]{4,20}") {
        let config = load("", vec![("CRASHMILL__PASSWORD".to_owned(), secret.clone())]).unwrap();
        prop_assert_eq!(config.password.expose(), &secret);
        prop_assert!(!settings::show(&config).contains(&secret));
        let debug = format!("{config:?}");
        prop_assert!(!debug.contains(&secret));
    }
}

#[expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]
fn load(text: &str, variables: Vec<(String, String)>) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crashmill.toml");
    fs::write(&path, text).unwrap();
    settings::load(Some(&path), variables.into_iter()).map_err(|error| error.to_string())
}
