//! Which packages have examples in their documentation. The test runner does not run these, and to have each package's
//! documentation searched by rustdoc takes longer than most of the tests.

use std::{fs, path::Path};

use cargo_metadata::Metadata;

/// The names of the workspace's packages that have at least one example to run.
pub(crate) fn packages(metadata: &Metadata) -> Vec<String> {
    metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| package.targets.iter().any(cargo_metadata::Target::is_lib))
        .filter(|package| {
            package
                .manifest_path
                .parent()
                .is_some_and(|folder| has_example(&folder.join("src").into_std_path_buf()))
        })
        .map(|package| package.name.to_string())
        .collect()
}

fn has_example(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return has_example(&path);
        }
        path.extension().is_some_and(|extension| extension == "rs")
            && fs::read_to_string(&path).is_ok_and(|source| shows_example(&source))
    })
}

/// Whether a documentation comment opens a block of code that is Rust, which is what a block without a name is.
fn shows_example(source: &str) -> bool {
    let mut in_block = false;
    source
        .lines()
        .filter_map(|line| {
            let line = line.trim_start();
            line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))?.trim_start().strip_prefix("```")
        })
        .any(|after_fence| {
            in_block = !in_block;
            let kind = after_fence.split([',', ' ']).next().unwrap_or_default();
            in_block && matches!(kind, "" | "rust" | "no_run" | "should_panic" | "compile_fail")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_rust_is_an_example_and_a_block_of_anything_else_is_not() {
        assert!(shows_example("/// ```\n/// let a = 1;\n/// ```\n"));
        assert!(shows_example("    //! ```no_run\n    //! loop {}\n    //! ```\n"));
        assert!(!shows_example("/// ```text\n/// a -> b\n/// ```\nfn f() {}\n"));
        assert!(!shows_example("/// ```ignore\n/// ```\n"));
        assert!(!shows_example("// ```\n// not documentation\n"));
    }
}
