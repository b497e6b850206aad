//! A segment is an ordinary file for tar and zstd, whatever has happened to it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

mod support;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crashstore::Area;
use support::{config, id, minute, processed, raw, segment, store};

/// What a tool prints; nothing when the tool is not installed.
fn output(program: &str, arguments: &[&str], file: &Path) -> Option<Vec<u8>> {
    let output = Command::new(program).args(arguments).arg(file).stdin(Stdio::null()).output().ok()?;
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

fn tools_are_here() -> bool {
    let here = ["tar", "zstd"].iter().all(|tool| Command::new(tool).arg("--version").output().is_ok());
    if !here {
        println!("skipped: tar and zstd are not both installed");
    }
    here
}

/// The members that tar lists, after zstd has verified every frame.
fn members(segment: &Path) -> Vec<String> {
    output("zstd", &["-q", "-t"], segment).unwrap();
    let listed = output("tar", &["--zstd", "--ignore-zeros", "-tf"], segment).unwrap();
    String::from_utf8(listed).unwrap().lines().map(str::to_owned).collect()
}

fn expected(numbers: &[u64]) -> Vec<String> {
    numbers
        .iter()
        .flat_map(|number| ["crash.json", "0.dmp"].map(|member| format!("{}/{member}", id(0, *number))))
        .collect()
}

#[tokio::test]
async fn tar_and_zstd_read_a_segment_also_after_an_erasure_and_a_cut_tail() {
    if !tools_are_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    for number in 1..=5 {
        writer.save_raw(&raw(id(0, number), 1000 * usize::try_from(number).unwrap())).await.unwrap();
    }
    let path = segment(folder.path(), Area::Raw, "node-1");
    assert_eq!(members(&path), expected(&[1, 2, 3, 4, 5]));

    store.erase(id(0, 2)).await.unwrap();
    store.erase(id(0, 5)).await.unwrap();
    assert_eq!(members(&path), expected(&[1, 3, 4]));
    writer.close().await;

    // The start of a further frame, as a kill leaves it.
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&bytes[..], &bytes[..100]].concat()).unwrap();
    let lines = format!("raw/{} node-1\n", minute());
    std::fs::write(config(folder.path()).path.join("writers/node-1.segments"), lines).unwrap();
    let writer = store.writer("node-1").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(members(&path), expected(&[1, 3, 4]));
    writer.save_raw(&raw(id(0, 6), 10)).await.unwrap();
    assert_eq!(members(&segment(folder.path(), Area::Raw, "node-1+1")), expected(&[6]));
}

#[tokio::test]
async fn tar_unpacks_the_dump_that_was_saved() {
    if !tools_are_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let writer = store(folder.path()).writer("node-1").unwrap();
    let (one, two) = (raw(id(0, 1), 70_000), raw(id(0, 2), 513));
    writer.save_raw(&one).await.unwrap();
    writer.save_raw(&two).await.unwrap();
    let into = folder.path().join("unpacked");
    std::fs::create_dir(&into).unwrap();
    let path = segment(folder.path(), Area::Raw, "node-1");
    output("tar", &["--zstd", "--ignore-zeros", "-C", into.to_str().unwrap(), "-xf"], &path).unwrap();
    for crash in [one, two] {
        let unpacked = into.join(crash.id().to_string());
        assert_eq!(std::fs::read(unpacked.join("0.dmp")).unwrap(), crash.dumps[0].bytes);
        assert_eq!(std::fs::read(unpacked.join("crash.json")).unwrap(), crash.to_crash_json());
    }
}

#[tokio::test]
async fn zstd_prints_the_json_of_the_other_areas() {
    if !tools_are_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let writer = store(folder.path()).writer("node-1").unwrap();
    let crash = raw(id(0, 1), 10);
    writer.save_raw(&crash).await.unwrap();
    writer.save_processed(&processed(crash.id(), 1, "main")).await.unwrap();
    let printed = |area| output("zstd", &["-q", "-dc"], &segment(folder.path(), area, "node-1")).unwrap();
    assert_eq!(printed(Area::Private), serde_json::to_vec(&crash.private).unwrap());
    let processed: serde_json::Value = serde_json::from_slice(&printed(Area::Processed)).unwrap();
    assert_eq!(processed["signature"], "main");
}
