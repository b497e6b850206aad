//! The arrows between the crates point one way, and each door has one crate behind it.
//!
//! The map is in ARCHITECTURE.md; here it is as data. A new crate, or a new arrow, is a decision: make it in both.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Which of our crates each of our crates may use, tests apart.
const MAY_USE: &[(&str, &[&str])] = &[
    ("crash", &[]),
    ("settings", &[]),
    ("servers", &[]),
    ("sample", &[]),
    ("daemon", &["settings"]),
    ("debugfiles", &["crash"]),
    ("signature", &["crash"]),
    ("symbols", &["crash", "settings"]),
    ("crashstore", &["crash", "settings"]),
    ("queue", &["crash", "settings"]),
    ("facts", &["crash", "settings"]),
    ("stackwalk", &["crash", "settings", "symbols"]),
    ("collector", &["crash", "crashstore", "daemon", "queue", "settings"]),
    ("processor", &["crash", "crashstore", "daemon", "facts", "queue", "settings", "signature", "stackwalk"]),
    ("scheduler", &["crash", "crashstore", "daemon", "facts", "queue", "settings"]),
    (
        "cli",
        &[
            "collector",
            "crash",
            "crashstore",
            "daemon",
            "debugfiles",
            "facts",
            "processor",
            "queue",
            "scheduler",
            "servers",
            "settings",
            "signature",
            "stackwalk",
            "symbols",
        ],
    ),
    ("testing", &["crash"]),
    ("xtask", &["servers"]),
];

/// Libraries that one crate alone may link; `testing` makes databases and dumps for tests.
const DOORS: &[(&str, &[&str])] = &[
    ("lapin", &["queue"]),
    ("postgres", &["facts", "testing"]),
    ("tokio-postgres", &["facts"]),
    ("deadpool-postgres", &["facts"]),
    ("refinery", &["facts"]),
    ("minidump", &["stackwalk"]),
    ("minidump-processor", &["stackwalk"]),
    ("minidump-unwind", &["stackwalk"]),
    ("breakpad-symbols", &["stackwalk"]),
    ("minidump-synth", &["testing"]),
    ("dump_syms", &["debugfiles"]),
    ("multer", &["collector"]),
];

/// Libraries that would be a second TLS stack, or a second provider for the one.
const BANNED: &[&str] = &["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "openssl-sys"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .other_options(["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .expect("cargo can read its own workspace")
}

/// What a package depends on outside its tests.
fn uses(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|d| d.name.as_str())
}

#[test]
fn arrows_between_our_crates_point_where_the_map_says() {
    let metadata = metadata();
    let map: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let ours: BTreeSet<_> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let mapped: BTreeSet<_> = map.keys().map(ToString::to_string).collect();
    assert_eq!(ours, mapped, "the crates of the workspace and of the map");

    for package in metadata.workspace_packages() {
        let allowed = map[package.name.as_str()];
        for used in uses(package).filter(|name| ours.contains(*name)) {
            assert!(allowed.contains(&used), "{} must not use {used}", package.name);
        }
    }
}

#[test]
fn each_door_has_one_crate_behind_it() {
    let metadata = metadata();
    let doors: BTreeMap<_, _> = DOORS.iter().copied().collect();
    for package in metadata.workspace_packages() {
        for used in uses(package) {
            if let Some(behind) = doors.get(used) {
                assert!(behind.contains(&package.name.as_str()), "{} must not link {used}", package.name);
            }
        }
    }
}

#[test]
fn there_is_one_tls_stack() {
    let metadata = metadata();
    let resolved = metadata.resolve.as_ref().expect("cargo metadata resolves");
    let mut linked: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<_> = metadata.workspace_members.iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            linked.insert(metadata[id].name.as_str());
            let node = resolved.nodes.iter().find(|node| node.id == *id).expect("every package has a node");
            open.extend(&node.dependencies);
        }
    }
    for banned in BANNED {
        assert!(!linked.contains(banned), "{banned} is linked; `cargo tree -i {banned}` shows by whom");
    }
}
