//! The executable of this test, dumped: real compilers, linkers and debug information.
#![cfg(target_os = "linux")]

use std::env::current_exe;

use debugfiles::{Options, dump, read};

/// What the symbols must name, with this file and its line.
///
/// Where only line tables are kept, compilers describe just the functions that others were inlined into: so must be
/// one.
#[inline(never)]
fn a_function_that_the_symbols_name(depth: u32) -> u32 {
    inlined_into_it(depth) + 1
}

#[inline(always)]
fn inlined_into_it(depth: u32) -> u32 {
    std::hint::black_box(depth)
}

#[test]
fn an_executable_gives_its_functions_files_and_lines() {
    assert_eq!(a_function_that_the_symbols_name(1), 2);
    let executable = current_exe().unwrap();
    let symbols = dump(&executable, &Options::default()).unwrap();

    assert_eq!(symbols.debug_file, executable.file_name().unwrap().to_str().unwrap());
    assert_eq!(symbols.os, "Linux");
    assert!(symbols.says_how_to_unwind());

    let text = String::from_utf8(symbols.text).unwrap();
    let function = text.lines().skip_while(|line| {
        !(line.starts_with("FUNC ") && line.ends_with("own_executable::a_function_that_the_symbols_name"))
    });
    let records: Vec<_> = function.skip(1).take_while(|line| !line.starts_with("FUNC ")).collect();
    let line = records.iter().find(|line| !line.starts_with("INLINE ")).expect("the function has lines");
    let file = line.rsplit(' ').next().unwrap();
    let file = text.lines().find(|line| line.starts_with(&format!("FILE {file} "))).unwrap();
    assert!(file.ends_with("own_executable.rs"), "{file}");

    let inline = records.iter().find(|line| line.starts_with("INLINE ")).expect("what was inlined is there");
    let origin = inline.split(' ').nth(4).unwrap();
    let origin = text.lines().find(|line| line.starts_with(&format!("INLINE_ORIGIN {origin} "))).unwrap();
    assert!(origin.contains("inlined_into_it"), "{origin}");
}

#[test]
fn the_same_file_gives_the_same_bytes_again() {
    let executable = current_exe().unwrap();
    let first = dump(&executable, &Options::default()).unwrap();
    assert!(first == dump(&executable, &Options::default()).unwrap());
}

#[test]
fn what_was_dumped_is_read_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let symbols = dump(&current_exe().unwrap(), &Options::default()).unwrap();
    let file = folder.path().join(symbols.relative_path());
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, &symbols.text).unwrap();
    assert!(read(&file, &Options::default()).unwrap() == symbols);
}
