//! Real functions: the ones that the compiler and LLVM export. `nm` comes with every C compiler.

use std::{path::Path, process::Command};

/// How many of each language a product has on its stacks.
const MOST: usize = 4000;

pub(crate) struct Names {
    pub(crate) cpp: Vec<String>,
    pub(crate) rust: Vec<String>,
}

pub(crate) fn of_the_compiler() -> Names {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let libraries = Path::new(String::from_utf8(output.stdout).unwrap().trim()).join("lib");
    let (mut cpp, mut rust) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(libraries).unwrap() {
        let entry = entry.unwrap();
        match entry.file_name().to_string_lossy() {
            name if name.starts_with("libLLVM") => cpp.extend(functions(&entry.path())),
            name if name.starts_with("librustc_driver") => rust.extend(functions(&entry.path())),
            _ => {}
        }
    }
    Names { cpp: some_of(cpp), rust: some_of(rust) }
}

fn functions(library: &Path) -> Vec<String> {
    let output =
        Command::new("nm").args(["-D", "--defined-only", "--demangle"]).arg(library).output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let named = lines.lines().filter_map(|line| {
        let mut words = line.splitn(3, ' ');
        let (_, kind, name) = (words.next()?, words.next()?, words.next()?);
        let name = name.split("@@").next()?;
        (matches!(kind, "T" | "W") && name.contains("::")).then(|| name.to_owned())
    });
    named.collect()
}

/// Names from all over the list.
fn some_of(names: Vec<String>) -> Vec<String> {
    assert!(names.len() > MOST, "only {} functions were found", names.len());
    let step = names.len() / MOST;
    names.into_iter().step_by(step).take(MOST).collect()
}
