//! What operators write, and what they are told.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use settings::{Duration, Secret, ServiceUrl, Size};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Config {
    collector: Collector,
    facts: Facts,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Collector {
    listen: SocketAddr,
    max_body: Size,
    timeout: Duration,
    threads: Option<u16>,
    ratio: f64,
    gzip: bool,
    name: String,
    store: Store,
    products: Vec<String>,
    weights: BTreeMap<String, u32>,
    spool: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Store {
    Disk,
    S3 { bucket: String, key: Secret },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Facts {
    url: ServiceUrl,
    password: Secret,
    tokens: Vec<Secret>,
    replica: Option<ServiceUrl>,
}

impl Default for Collector {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            max_body: Size::mib(25),
            timeout: Duration::from_secs(30),
            threads: None,
            ratio: 0.5,
            gzip: true,
            name: String::new(),
            store: Store::Disk,
            products: Vec::new(),
            weights: BTreeMap::new(),
            spool: None,
        }
    }
}

#[test]
fn sections_are_read_and_what_is_not_given_keeps_its_default() {
    let config = load(
        "[collector]\nlisten = '[::1]:9'\nmax_body = '1.5GiB'\ntimeout = '1m 30s'\nproducts = ['Fox', 'Bird']\n\
         ratio = 1\nstore.s3 = { bucket = 'b', key_file = '/dev/null' }\n[collector.weights]\nFox = 3\n",
        &[],
    )
    .unwrap();
    let expected = Collector {
        listen: "[::1]:9".parse().unwrap(),
        max_body: Size::mib(1536),
        timeout: Duration::from_secs(90),
        products: vec!["Fox".to_owned(), "Bird".to_owned()],
        ratio: 1.0,
        store: Store::S3 { bucket: "b".to_owned(), key: Secret::default() },
        weights: BTreeMap::from([("Fox".to_owned(), 3)]),
        ..Collector::default()
    };
    assert_eq!(config, Config { collector: expected, facts: Facts::default() });
}

#[test]
fn the_environment_is_laid_over_the_file_with_the_types_that_are_wanted() {
    let config = load(
        "[collector]\nname = 'file'\ntimeout = '1s'\nthreads = 4\n",
        &[
            ("CRASHMILL__COLLECTOR__NAME", "8080"),
            ("CRASHMILL__COLLECTOR__THREADS", ""),
            ("CRASHMILL__COLLECTOR__RATIO", "0.25"),
            ("CRASHMILL__COLLECTOR__GZIP", "false"),
            ("CRASHMILL__COLLECTOR__MAX_BODY", "4096"),
            ("CRASHMILL__COLLECTOR__PRODUCTS", "[\"Fox\", \"Bird\"]"),
            ("CRASHMILL__COLLECTOR__WEIGHTS__FOX", "3"),
            ("CRASHMILL__COLLECTOR__STORE", "{ s3 = { bucket = \"b\", key = \"k\" } }"),
            ("CRASHMILL__COLLECTOR__SPOOL", "/true"),
            ("CRASHMILL__FACTS__TOKENS", "[\"a\", \"b\"]"),
        ],
    )
    .unwrap();
    let expected = Collector {
        name: "8080".to_owned(),
        timeout: Duration::from_secs(1),
        ratio: 0.25,
        gzip: false,
        max_body: Size::kib(4),
        products: vec!["Fox".to_owned(), "Bird".to_owned()],
        weights: BTreeMap::from([("fox".to_owned(), 3)]),
        store: Store::S3 { bucket: "b".to_owned(), key: Secret::new("k") },
        spool: Some("/true".into()),
        ..Collector::default()
    };
    assert_eq!(config.collector, expected);
    assert_eq!(config.facts.tokens, [Secret::new("a"), Secret::new("b")]);
}

#[test]
fn variables_with_one_underscore_belong_to_somebody_else() {
    assert_eq!(load("", &[("CRASHMILL_SUPERVISED", "1"), ("PATH", "/bin")]).unwrap(), Config::default());
}

#[test]
fn a_mistake_in_the_file_is_named_with_its_place_and_key() {
    for (text, place, message) in [
        (
            "[collector]\n  lisen = '1'\n",
            "2:3",
            "collector.lisen: unknown key `lisen`; did you mean `listen`?",
        ),
        ("[colector]\n", "1:2", "colector: unknown key `colector`; did you mean `collector`?"),
        (
            "[facts]\nhost = 'x'\n",
            "2:1",
            "facts.host: unknown key `host`; there are url, password, tokens, replica",
        ),
        ("[collector]\ngzip = 'yes'\n", "2:8", "collector.gzip: expected a boolean, found a string"),
        ("[collector]\nthreads = 70000\n", "2:11", "collector.threads: expected u16, found the number 70000"),
        (
            "[collector]\nproducts = [\n 'a', 1]\n",
            "3:7",
            "collector.products[1]: expected a string, found the number 1",
        ),
        ("[collector]\ntimeout = 30\n", "2:11", "collector.timeout: expected a length of time such as"),
        ("[collector]\ntimeout = '30'\n", "2:11", "collector.timeout: expected a length of time such as"),
        ("[collector]\nmax_body = 'big'\n", "2:12", "collector.max_body: expected a number of bytes such as"),
        ("[collector]\nstore = 'dsk'\n", "2:9", "collector.store: unknown value `dsk`; did you mean `disk`?"),
        (
            "[collector.store.s3]\nbuket = 'b'\n",
            "2:1",
            "collector.store.s3.buket: unknown key `buket`; did you mean",
        ),
        ("[collector.store.s3]\nbucket = 'b'\n", "1:1", "collector.store.s3: the key `key` is missing"),
        ("collector = 3\n", "1:13", "collector: expected struct Collector, found the number 3"),
        (
            "[collector]\nname_file = '/x'\n",
            "2:13",
            "collector.name: only a secret or a URL can be read from a file",
        ),
        ("[facts]\nurl = 'nowhere'\n", "2:7", "facts.url: expected a URL such as"),
        ("[collector]\n\u{e9} = 1\n", "2:1", ""),
        ("[collector]\nname = 'a'\nname = 'b'\n", "3:1", "duplicate key"),
    ] {
        let error = load(text, &[]).unwrap_err();
        assert!(error.contains(&format!("crashmill.toml:{place}: {message}")), "{text}\n  gave: {error}");
    }
}

#[test]
fn a_mistake_in_the_environment_is_named_with_its_variable() {
    for (variable, text, message) in [
        ("CRASHMILL__COLLECTOR__LISEN", "1", "collector.lisen: unknown key `lisen`; did you mean `listen`?"),
        ("CRASHMILL__COLECTOR__LISTEN", "1", "colector: unknown key `colector`; did you mean `collector`?"),
        ("CRASHMILL__COLLECTOR__GZIP", "maybe", "collector.gzip: expected a boolean, found a string"),
        ("CRASHMILL__COLLECTOR__THREADS", "-1", "collector.threads: expected u16, found the number -1"),
        ("CRASHMILL__COLLECTOR__TIMEOUT", "30", "collector.timeout: expected a length of time such as"),
        ("CRASHMILL__COLLECTOR__LISTEN", "here", "collector.listen: invalid socket address syntax"),
        ("CRASHMILL__COLLECTOR", "3", "collector: expected struct Collector, found the number 3"),
        ("CRASHMILL__COLLECTOR__", "3", "expected a name such as CRASHMILL__SECTION__KEY"),
    ] {
        let error = load("[collector]\nname = 'x'\n", &[(variable, text)]).unwrap_err();
        assert!(error.starts_with(&format!("{variable}: {message}")), "{variable}={text}\n  gave: {error}");
    }
}

#[test]
fn unknown_keys_are_refused_even_where_a_type_would_let_them_pass() {
    #[derive(Debug, Deserialize)]
    struct Lenient {
        #[serde(rename = "listen")]
        _listen: Option<String>,
    }
    let variable = ("CRASHMILL__LISEN".to_owned(), String::new());
    let error = settings::load::<Lenient>(Some("/dev/null".as_ref()), [variable].into_iter())
        .unwrap_err()
        .to_string();
    assert_eq!(error, "CRASHMILL__LISEN: lisen: unknown key `lisen`; did you mean `listen`?");
}

#[test]
fn two_variables_that_contradict_each_other_are_refused() {
    let both = [("CRASHMILL__FACTS", "{ url = \"a://b\" }"), ("CRASHMILL__FACTS__URL", "a://c")];
    let error = load("", &both).unwrap_err();
    assert!(error.starts_with("CRASHMILL__FACTS__URL: CRASHMILL__FACTS is set too"), "{error}");
}

#[test]
fn a_mistake_in_the_file_is_reported_although_the_environment_covers_it() {
    let error = load("[collector]\ngzip = 3\n", &[("CRASHMILL__COLLECTOR__GZIP", "true")]).unwrap_err();
    assert!(error.contains("crashmill.toml:2:8: collector.gzip"), "{error}");
}

#[test]
fn a_secret_in_the_file_is_refused_with_the_two_ways_to_give_it() {
    let error = load("[facts]\npassword = 'hunter2'\n", &[]).unwrap_err();
    assert!(
        error.contains(
            "crashmill.toml:2:12: facts.password: a secret may not stand in the configuration file"
        )
    );
    assert!(
        error.contains("CRASHMILL__FACTS__PASSWORD") && error.contains("`password_file = \"/path\"`"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");

    let error = load("[facts]\ntokens = ['hunter2']\n", &[]).unwrap_err();
    assert!(
        error.contains(":2:11: facts.tokens[0]: a secret may not") && !error.contains("hunter2"),
        "{error}"
    );
    let error = load("[facts]\npassword = 12345\n", &[]).unwrap_err();
    assert!(error.contains("facts.password: expected a string") && !error.contains("12345"), "{error}");
    assert_eq!(load("[facts]\npassword = ''\n", &[]).unwrap(), Config::default());
}

#[test]
fn no_error_repeats_a_secret_that_stands_in_the_wrong_place() {
    for (text, variables) in [
        ("[facts]\npassword = 'hunter2'\nx = 1", vec![]),
        ("[facts]\npassword = 'hunter2\n", vec![]),
        ("facts = 'hunter2'\n", vec![]),
        ("[facts]\nurl = 'postgresql:hunter2@x'\n", vec![]),
        ("[facts]\nurl = 'postgresql://u:hunter2/@x'\n", vec![]),
        ("", vec![("CRASHMILL__FACTS", "{ password = \"hunter2\"")]),
        ("", vec![("CRASHMILL__FACTS__URL", "hunter2")]),
        ("", vec![("CRASHMILL__COLLECTOR__TIMEOUT", "{ a = \"hunter2\" }")]),
    ] {
        let error = load(text, &variables).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_secret_comes_from_the_environment_or_from_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, "from file \n").unwrap();
    let named = format!("[facts]\npassword_file = '{}'\n", path.display());

    assert_eq!(load(&named, &[]).unwrap().facts.password.expose(), "from file ");
    let overlaid = load(&named, &[("CRASHMILL__FACTS__PASSWORD", "12345")]).unwrap();
    assert_eq!(overlaid.facts.password.expose(), "12345");
    let path = path.to_str().unwrap();
    let variable = load("[facts]\npassword = ''\n", &[("CRASHMILL__FACTS__PASSWORD_FILE", path)]).unwrap();
    assert_eq!(variable.facts.password.expose(), "from file ");
}

#[test]
fn a_secret_given_in_both_ways_at_one_place_is_refused() {
    let error = load("[facts]\npassword = ''\npassword_file = '/x'\n", &[]).unwrap_err();
    assert!(
        error.contains(":3:1: facts.password_file: `password` and `password_file` are both set"),
        "{error}"
    );
}

#[test]
fn a_secret_file_that_cannot_be_read_is_named() {
    let error = load("[facts]\npassword_file = '/nowhere/secret'\n", &[]).unwrap_err();
    assert!(error.contains(
        "crashmill.toml:2:17: facts.password: reading the secret in /nowhere/secret: No such file"
    ));
}

#[test]
fn a_url_with_a_password_is_treated_as_a_secret_and_without_one_as_an_ordinary_value() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    fs::write(&path, "amqp://u:p@h/\n").unwrap();

    let error = load("[facts]\nurl = 'amqp://u:hunter2@h/'\n", &[]).unwrap_err();
    assert!(
        error.contains(":2:7: facts.url: a URL with a password may not stand in the configuration file"),
        "{error}"
    );
    assert!(
        error.contains("CRASHMILL__FACTS__URL") && error.contains("url_file") && !error.contains("hunter2")
    );
    assert_eq!(load("[facts]\nurl = 'amqp://u@h/'\n", &[]).unwrap().facts.url.expose(), "amqp://u@h/");
    let read = load(&format!("[facts]\nreplica_file = '{}'\n", path.display()), &[]).unwrap();
    assert_eq!(read.facts.replica.unwrap().expose(), "amqp://u:p@h/");
    let given = load("", &[("CRASHMILL__FACTS__URL", "amqp://u:p@h/")]).unwrap();
    assert_eq!(given.facts.url.expose(), "amqp://u:p@h/");
}

#[test]
fn what_is_in_effect_is_shown_without_secrets_and_reads_back() {
    let variables = [
        ("CRASHMILL__FACTS__PASSWORD", "hunter2"),
        ("CRASHMILL__FACTS__URL", "amqp://u:hunter2@h/"),
        ("CRASHMILL__COLLECTOR__STORE", "{ s3 = { bucket = \"b\", key = \"hunter2\" } }"),
        ("CRASHMILL__COLLECTOR__MAX_BODY", "3MiB"),
    ];
    let shown = settings::show(&load("", &variables).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
    for line in [
        "password = \"<redacted>\"",
        "url = \"amqp://u:<redacted>@h/\"",
        "max_body = \"3MiB\"",
        "timeout = \"30s\"",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert_eq!(load(&settings::show(&Config::default()), &[]).unwrap(), Config::default());
}

#[test]
fn without_a_file_the_defaults_hold_but_a_file_that_was_named_must_be_there() {
    // A machine on which it is installed may have one.
    if !Path::new(settings::DEFAULT_PATH).exists() {
        let none: Config = settings::load(None, std::iter::empty()).unwrap();
        assert_eq!(none, Config::default());
    }
    let missing = settings::load::<Config>(Some("/nowhere/c.toml".as_ref()), std::iter::empty()).unwrap_err();
    assert_eq!(missing.to_string(), "reading the configuration file /nowhere/c.toml");
}

#[expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]
fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crashmill.toml");
    fs::write(&path, text).unwrap();
    let environment = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    settings::load(Some(&path), environment).map_err(|error| error.to_string())
}
