//! Names of functions as compilers and demanglers write them, and as damage leaves them.

use crate::dice::Dice;

const WORDS: &[&str] = &[
    "foo",
    "Bar",
    "render",
    "Level",
    "load_texture",
    "std",
    "mozilla",
    "dom",
    "x",
    "T",
    "net",
    "Channel",
    "core",
    "alloc",
    "operatorTable",
    "cooperator",
    "Vec",
    "HashMap",
    "assign",
    "inner",
    "main",
    "asm",
    "in_place",
];
const TYPES: &[&str] = &[
    "int",
    "unsigned int",
    "char const*",
    "void",
    "bool",
    "std::string const&",
    "T",
    "float (*)(int)",
    "Foo::Bar&&",
    "long*",
    "decltype(nullptr)",
    "(lambda)",
    "3u",
    "&foo",
    "void ()",
    "A [3]",
    "X*, Y&",
    "char , int",
];

/// A path of words.
fn path(dice: &mut Dice) -> String {
    let mut path = String::new();
    if dice.one_in(8) {
        path.push_str(dice.pick(&["(anonymous namespace)::", "`anonymous namespace'::", "::"]));
    }
    for _ in 0..dice.below(3) {
        path.push_str(dice.pick(WORDS));
        if dice.one_in(4) {
            path.push_str(&template(dice, 0));
        }
        path.push_str("::");
        if dice.one_in(10) {
            path.push_str(dice.pick(&[
                "(anonymous namespace)::",
                "$_0::",
                "$_12::",
                "{lambda(int)#1}::",
                "`2'::",
            ]));
        }
    }
    path.push_str(dice.pick(WORDS));
    path
}

fn template(dice: &mut Dice, depth: usize) -> String {
    let mut inside = dice.pick(TYPES).to_owned();
    if depth < 3 && dice.one_in(2) {
        inside = format!("{}{}", path_of_words(dice), template(dice, depth + 1));
        if dice.one_in(3) {
            inside.push(' ');
        }
    }
    if dice.one_in(4) {
        inside = format!("{inside}, {}", dice.pick(TYPES));
    }
    if dice.one_in(12) {
        inside = format!("{inside} in {}", dice.pick(WORDS));
    }
    format!("<{inside}>")
}

fn path_of_words(dice: &mut Dice) -> String {
    format!("{}::{}", dice.pick(WORDS), dice.pick(WORDS))
}

fn arguments(dice: &mut Dice) -> String {
    let mut arguments = Vec::new();
    for _ in 0..dice.below(4) {
        arguments.push(if dice.one_in(4) {
            format!("{}{}", path_of_words(dice), template(dice, 1))
        } else {
            dice.pick(TYPES).to_owned()
        });
    }
    format!("({})", arguments.join(dice.pick(&[", ", ",", " , "])))
}

/// A function of C++.
pub(crate) fn cpp(dice: &mut Dice) -> String {
    let mut name = String::new();
    if dice.one_in(3) {
        name.push_str(dice.pick(&[
            "static ",
            "void ",
            "virtual int ",
            "std::map<int, char> const& ",
            "unsigned int* ",
            "inline ",
            "auto ",
            "non-virtual thunk to ",
            "virtual thunk to ",
            "vtable for ",
            "__cdecl ",
            "extern \"C\" ",
            "enum a::b ",
            "void (anonymous namespace)::x ",
            "[thunk]:",
            "decltype(auto) ",
        ]));
    }
    name.push_str(&path(dice));
    if dice.one_in(6) {
        name.push_str("::");
        name.push_str(dice.pick(OPERATORS));
    }
    if dice.one_in(6) {
        name.push_str(dice.pick(&[
            "::~Foo",
            "::`scalar deleting destructor'",
            "::{lambda(int, char)#2}::operator()",
            "::$_3::operator()",
            "::$_3::__invoke",
            "::<lambda_1>::operator()",
            "<name omitted>",
            "::{ctor}",
            "@@YAXXZ",
            "@8",
        ]));
    }
    if dice.one_in(4) {
        name.push_str(&template(dice, 0));
    }
    if !dice.one_in(4) {
        name.push_str(&arguments(dice));
    }
    if dice.one_in(5) {
        name.push_str(dice.pick(&[
            " const",
            " const&",
            " const &",
            " &&",
            " &",
            " volatile",
            " noexcept",
            "const",
            " const const",
            "&",
            "&&",
        ]));
    }
    if dice.one_in(8) {
        name.push_str(dice.pick(&[
            " [clone .cold]",
            " [clone .isra.0]",
            " [clone .constprop.1] [clone .cold.3]",
            "[clone .cold]",
            " (.cold)",
            " [clone .part.0]",
            " [inlined]",
            ".llvm.123",
            " [clone .cold",
        ]));
    }
    damage(dice, name)
}

const OPERATORS: &[&str] = &[
    "operator()",
    "operator[]",
    "operator->",
    "operator->*",
    "operator>",
    "operator>>",
    "operator>=",
    "operator==",
    "operator+=",
    "operator bool",
    "operator std::string",
    "operator new",
    "operator delete[]",
    "operator,",
    "operator*",
    "operator&",
    "operator&&",
    "operator\"\" _km",
    "operator T*",
    "operator const char*",
];

/// A name in which something is missing, too much, or odd.
fn damage(dice: &mut Dice, name: String) -> String {
    if !dice.one_in(5) {
        return name;
    }
    let characters: Vec<char> = name.chars().collect();
    let at = dice.below(characters.len() + 1);
    let (before, after) = characters.split_at(at);
    let (before, after): (String, String) = (before.iter().collect(), after.iter().collect());
    match dice.below(4) {
        0 => before,
        1 => format!("{before}{}", after.chars().skip(1).collect::<String>()),
        2 => format!("{before}{}{after}", dice.pick(&["<", ">", "(", ")", "[", "]", "{", "}", "`", "'"])),
        _ => format!("{before}{}{after}", dice.pick(&[" ", "  ", ",", " ,", "*", " &", "::", "$_1::", ", "])),
    }
}

/// A function of Rust.
pub(crate) fn rust(dice: &mut Dice) -> String {
    let mut name = match dice.below(5) {
        0 => format!("<{} as {}>::{}", path_of_words(dice), path_of_words(dice), dice.pick(WORDS)),
        1 => format!(
            "<{}<T> as {}<{}>>::{}",
            path_of_words(dice),
            dice.pick(WORDS),
            dice.pick(TYPES),
            dice.pick(WORDS)
        ),
        2 => format!(
            "{}::<impl {} for {}>::{}",
            path_of_words(dice),
            dice.pick(WORDS),
            dice.pick(WORDS),
            dice.pick(WORDS)
        ),
        3 => format!("{}::<{}>::{}", dice.pick(WORDS), dice.pick(TYPES), dice.pick(WORDS)),
        _ => format!("{}::{}", path_of_words(dice), dice.pick(WORDS)),
    };
    if dice.one_in(4) {
        name.push_str(dice.pick(&[
            "::{{closure}}",
            "::{{closure}}::{{closure}}",
            "{{vtable.shim}}",
            "::{closure#0}<T>",
            "::{impl#2}",
        ]));
    }
    if dice.one_in(6) {
        name.push_str(&arguments(dice));
    }
    if dice.one_in(8) {
        name = format!("{} {name}", dice.pick(&["static", "fn", "&mut", "impl$<T>", "unsafe extern \"C\""]));
    }
    if dice.one_in(2) {
        name.push_str(dice.pick(&[
            "::h0123456789abcdef",
            "::hABCDEF0123456789",
            "::h1",
            "::h",
            "::hxyz",
            "::h12::h34",
            "::h1 ",
        ]));
    }
    if dice.one_in(10) {
        name.push_str(dice.pick(&[" [clone .cold]", " (.llvm.1)", " const"]));
    }
    damage(dice, name)
}

/// A function of C.
pub(crate) fn c(dice: &mut Dice) -> String {
    dice.pick(&[
        "memcpy",
        "game_update",
        "_start",
        "__libc_start_main",
        "raise",
        "abort",
        "jpeg_read_scanlines",
        "lua_pcall",
        "sqlite3_step",
        "png_read_row@12",
        "_WinMain@16",
        "foo.isra.0",
        "foo.cold",
        "js_Interpret",
        "KiUserExceptionDispatcher",
        "@objc foo",
        "$s4main3fooyyF",
        "-[NSObject foo:bar:]",
        "+[Foo(Cat) a:]",
        "start_thread",
        "clone",
        "NtWaitForSingleObject",
    ])
    .to_owned()
}
