//! The compose file and the image, held against the executable: no container engine is needed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

mod support;

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;
use support::{
    shipped::{is_a_subcommand, read, read_settings},
    stdout,
};

/// Whether there is such a file or folder in the repository.
fn top_has(path: &str) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path).exists()
}

/// The compose file, merge keys resolved.
fn compose() -> Value {
    let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(&read("docker-compose.yml")).unwrap();
    yaml.apply_merge().unwrap();
    serde_json::to_value(yaml).unwrap()
}

fn services(compose: &Value) -> impl Iterator<Item = (&String, &Value)> {
    compose["services"].as_object().unwrap().iter()
}

fn is_ours(service: &Value) -> bool {
    service["image"] == "crashmill"
}

/// What Compose puts in the place of `${NAME:-default}` when nothing is set.
fn substituted(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (variable, after) = rest.split_once('}').unwrap();
    let (_, default) = variable.split_once(":-").unwrap_or_else(|| panic!("{variable} has no default"));
    format!("{before}{default}{}", substituted(after))
}

#[test]
fn every_service_of_the_compose_file_runs_a_subcommand_with_settings_that_it_knows() {
    let compose = compose();
    let mut seen = Vec::new();
    for (name, service) in services(&compose).filter(|(_, service)| is_ours(service)) {
        let words: Vec<&str> =
            service["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        is_a_subcommand(&words);
        let text = |value: &Value| substituted(value.as_str().unwrap());
        let mut environment: BTreeMap<String, String> = image_settings();
        let own = service["environment"].as_object().unwrap();
        environment.extend(own.iter().map(|(key, value)| (key.clone(), text(value))));
        assert!(environment.keys().all(|key| key.starts_with("CRASHMILL__")), "{environment:?}");
        stdout(&read_settings(&environment));
        seen.push(name.as_str());
    }
    assert_eq!(seen, ["migrate", "collector", "processor", "scheduler", "doctor"]);
}

/// The settings that the image brings along.
fn image_settings() -> BTreeMap<String, String> {
    let dockerfile = read("deploy/docker/Dockerfile");
    let settings = dockerfile.split_whitespace().filter(|word| word.starts_with("CRASHMILL__"));
    settings.filter_map(|word| word.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

#[test]
fn every_service_that_is_waited_for_can_say_that_it_is_there() {
    let compose = compose();
    for (name, service) in services(&compose) {
        let Some(needs) = service["depends_on"].as_object() else { continue };
        for (needed, how) in needs {
            let other = &compose["services"][needed];
            match how["condition"].as_str().unwrap() {
                "service_healthy" => assert!(other["healthcheck"]["test"].is_array(), "{name}: {needed}"),
                "service_completed_successfully" => {
                    assert_ne!(other["restart"], "unless-stopped", "{name}: {needed}");
                }
                other => panic!("{name} waits for {needed} to be {other}"),
            }
        }
    }
    assert!(compose["services"]["collector"]["depends_on"].is_null(), "intake waits for nobody");
    for name in ["processor", "scheduler"] {
        let needs = &compose["services"][name]["depends_on"];
        assert_eq!(needs["migrate"]["condition"], "service_completed_successfully", "{name}");
    }
}

#[test]
fn processors_can_be_scaled_and_everything_has_its_limits_and_its_place() {
    let compose = compose();
    let processor = &compose["services"]["processor"];
    for own in ["ports", "container_name", "hostname"] {
        assert!(processor[own].is_null(), "two containers cannot both have {own}");
    }
    for (name, service) in services(&compose) {
        let image = service["image"].as_str().unwrap();
        assert!(image == "crashmill" || image.contains(':'), "{name}: {image} names no version");
        for volume in service["volumes"].as_array().unwrap() {
            let (from, _) = volume.as_str().unwrap().split_once(':').unwrap();
            let known = match from.strip_prefix("./") {
                Some(path) => top_has(path),
                None => compose["volumes"].as_object().unwrap().contains_key(from),
            };
            assert!(known, "{name}: {from}");
        }
        let is_brief = ["migrate", "doctor"].contains(&name.as_str());
        assert!(is_brief || service["deploy"]["resources"]["limits"]["memory"].is_string(), "{name}");
    }
    assert!(top_has(compose["x-crashmill"]["build"]["dockerfile"].as_str().unwrap()));
}

#[test]
fn the_image_copies_what_is_there_and_looks_after_itself_with_a_command_that_is_there() {
    let dockerfile = read("deploy/docker/Dockerfile");
    let sources = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    let ignored = read("deploy/docker/Dockerfile.dockerignore");
    for source in sources.filter(|line| !line.starts_with("--from")) {
        let mut paths: Vec<&str> = source.split_whitespace().collect();
        paths.pop();
        for path in paths {
            assert!(top_has(path), "{path}");
            assert!(
                ignored.lines().any(|line| line == format!("!{path}")),
                "{path} does not reach the builder"
            );
        }
    }
    let check = dockerfile.lines().find_map(|line| line.trim().strip_prefix("CMD [\"crashmill\", ")).unwrap();
    let words: Vec<&str> =
        check.trim_end_matches(']').split(", ").map(|word| word.trim_matches('"')).collect();
    is_a_subcommand(&words);
    let version = read("Cargo.toml");
    let version =
        version.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(dockerfile.contains(&format!("FROM rust:{version}-")), "the compiler is {version}");
    assert!(dockerfile.contains("\nUSER crashmill"), "nothing runs as root");
}
