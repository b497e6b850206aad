//! What is passed over at the top of a stack.

const FUNCTIONS: &str = include_str!("../lists/runtime_functions.txt");
const MODULES: &str = include_str!("../lists/runtime_modules.txt");

fn entries(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Whether a function's name begins like one of the runtime's.
pub(crate) fn is_runtime_function(function: &str) -> bool {
    entries(FUNCTIONS).any(|beginning| function.starts_with(beginning))
}

/// Whether a module is one of the runtime's.
pub(crate) fn is_runtime_module(module: &str) -> bool {
    entries(MODULES).any(|name| module.eq_ignore_ascii_case(name))
}
