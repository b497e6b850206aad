//! Symbols from real HTTP servers on loopback.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    convert::Infallible,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_compression::tokio::bufread::GzipEncoder;
use axum::{
    Router,
    body::Body,
    http::{Response, StatusCode, Uri, header},
};
use futures_util::{StreamExt as _, stream};
use symbols::{Config, Found, Symbols};
use tokio::{io::AsyncReadExt as _, net::TcpListener};
use url::Url;

const ID: &str = "5A9832E5287241C1838ED98914E9B7FF1";

fn text() -> String {
    format!("MODULE windows x86 {ID} app.pdb\n{}", "FUNC 1000 10 0 main\n".repeat(1000))
}

/// A server that answers everything in one way and counts what it was asked.
struct Server {
    url: Url,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answer: impl Fn(Uri) -> Response<Body> + Clone + Send + Sync + 'static) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let router = Router::new().fallback(move |uri: Uri| {
            count.fetch_add(1, Ordering::SeqCst);
            let response = answer(uri);
            async move { Ok::<_, Infallible>(response) }
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/symbols/", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    async fn answering(status: StatusCode) -> Self {
        Self::start(move |_| Response::builder().status(status).body(Body::empty()).unwrap()).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn config(cache: &Path, servers: &[&Server]) -> Config {
    Config {
        servers: servers.iter().map(|server| server.url.as_str().parse().unwrap()).collect(),
        cache: cache.to_owned(),
        ..Config::default()
    }
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut files = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files
}

#[tokio::test]
async fn a_file_is_fetched_once_and_then_comes_from_the_cache() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|uri| {
        assert_eq!(uri.path(), format!("/symbols/app.pdb/{ID}/app.sym"));
        Response::new(Body::from(text()))
    })
    .await;
    let symbols = Symbols::open(&config(cache.path(), &[&server])).unwrap();

    let expected = cache.path().join("app.pdb").join(ID).join("app.sym");
    assert_eq!(symbols.locate("C:\\build\\app.pdb", ID).await, Found::Located(expected.clone()));
    assert_eq!(std::fs::read_to_string(&expected).unwrap(), text());
    assert_eq!(symbols.locate("app.pdb", ID).await, Found::Located(expected.clone()));
    let another_process = Symbols::open(&config(cache.path(), &[&server])).unwrap();
    assert_eq!(another_process.locate("app.pdb", ID).await, Found::Located(expected));
    assert_eq!(server.asked(), 1);
    assert_eq!(files_below(cache.path()).len(), 1, "no temporary file is left");
}

#[tokio::test]
async fn compressed_text_is_stored_uncompressed() {
    let cache = tempfile::tempdir().unwrap();
    let mut compressed = vec![];
    GzipEncoder::new(text().as_bytes()).read_to_end(&mut compressed).await.unwrap();
    let server = Server::start(move |_| {
        Response::builder()
            .header(header::CONTENT_ENCODING, "gzip")
            .body(Body::from(compressed.clone()))
            .unwrap()
    })
    .await;
    let symbols = Symbols::open(&config(cache.path(), &[&server])).unwrap();

    let Found::Located(path) = symbols.locate("app.pdb", ID).await else { panic!("not found") };
    assert_eq!(std::fs::read_to_string(path).unwrap(), text());
}

#[tokio::test]
async fn a_file_that_no_server_has_is_not_asked_for_again_by_any_process() {
    let cache = tempfile::tempdir().unwrap();
    let first = Server::answering(StatusCode::NOT_FOUND).await;
    let second = Server::answering(StatusCode::GONE).await;
    let config = config(cache.path(), &[&first, &second]);

    let symbols = Symbols::open(&config).unwrap();
    assert_eq!(symbols.locate("app.pdb", ID).await, Found::Missing);
    assert_eq!(symbols.locate("app.pdb", ID).await, Found::Missing);
    assert_eq!(Symbols::open(&config).unwrap().locate("app.pdb", ID).await, Found::Missing);
    assert_eq!((first.asked(), second.asked()), (1, 1));

    let expired = Config { missing_ttl: settings::Duration::from_secs(0), ..config };
    assert_eq!(Symbols::open(&expired).unwrap().locate("app.pdb", ID).await, Found::Missing);
    assert_eq!((first.asked(), second.asked()), (2, 2));
}

#[tokio::test]
async fn a_failing_server_is_left_alone_for_a_while_and_nothing_is_noted_as_missing() {
    let cache = tempfile::tempdir().unwrap();
    let failing = Server::answering(StatusCode::SERVICE_UNAVAILABLE).await;
    let lacking = Server::answering(StatusCode::NOT_FOUND).await;
    let symbols = Symbols::open(&config(cache.path(), &[&failing, &lacking])).unwrap();

    let Found::Unavailable(why) = symbols.locate("app.pdb", ID).await else { panic!("available") };
    assert!(why.contains("127.0.0.1") && why.contains("503"), "{why}");
    assert!(matches!(symbols.locate("other.pdb", ID).await, Found::Unavailable(_)));
    assert_eq!((failing.asked(), lacking.asked()), (1, 2), "the second file was asked for elsewhere only");
    assert_eq!(files_below(cache.path()), Vec::<String>::new());

    let later = Symbols::open(&config(cache.path(), &[&lacking])).unwrap();
    assert_eq!(later.locate("app.pdb", ID).await, Found::Missing);
}

#[tokio::test]
async fn a_later_server_helps_out_where_an_earlier_one_fails() {
    let cache = tempfile::tempdir().unwrap();
    let failing = Server::answering(StatusCode::INTERNAL_SERVER_ERROR).await;
    let having = Server::start(|_| Response::new(Body::from(text()))).await;
    let symbols = Symbols::open(&config(cache.path(), &[&failing, &having])).unwrap();
    assert!(matches!(symbols.locate("app.pdb", ID).await, Found::Located(_)));
}

#[tokio::test]
async fn a_refused_file_says_why_and_leaves_the_server_in_use() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::answering(StatusCode::FORBIDDEN).await;
    let symbols = Symbols::open(&config(cache.path(), &[&server])).unwrap();
    let Found::Unavailable(why) = symbols.locate("app.pdb", ID).await else { panic!("available") };
    assert!(why.contains("403") && why.contains("credentials"), "{why}");
    assert!(matches!(symbols.locate("app.pdb", ID).await, Found::Unavailable(_)));
    assert_eq!(server.asked(), 1, "the file is held back");
    symbols.locate("other.pdb", ID).await;
    assert_eq!(server.asked(), 2, "the server is not");
}

#[tokio::test]
async fn a_server_that_does_not_answer_costs_no_more_than_its_time_limit() {
    let cache = tempfile::tempdir().unwrap();
    // It accepts connections, by its backlog, and never says a word.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let config = Config {
        servers: vec![format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap()],
        cache: cache.path().to_owned(),
        timeout: settings::Duration::from_millis(200),
        ..Config::default()
    };
    let symbols = Symbols::open(&config).unwrap();
    let begun = Instant::now();
    assert!(matches!(symbols.locate("app.pdb", ID).await, Found::Unavailable(_)));
    let first = begun.elapsed();
    assert!(matches!(symbols.locate("other.pdb", ID).await, Found::Unavailable(_)));
    assert!(
        first >= Duration::from_millis(200) && begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_body_that_ends_early_or_never_is_not_kept() {
    let never = stream::iter([Ok::<_, io::Error>(text())]).chain(stream::pending());
    let early = stream::iter([Ok(text()), Err(io::Error::other("cut off"))]);
    for (name, body) in [("never", Body::from_stream(never)), ("early", Body::from_stream(early))] {
        let cache = tempfile::tempdir().unwrap();
        let body = std::sync::Mutex::new(Some(body));
        let body = Arc::new(body);
        let server = Server::start(move |_| Response::new(body.lock().unwrap().take().unwrap())).await;
        let config =
            Config { timeout: settings::Duration::from_millis(300), ..config(cache.path(), &[&server]) };
        let symbols = Symbols::open(&config).unwrap();
        assert!(matches!(symbols.locate("app.pdb", ID).await, Found::Unavailable(_)), "{name}");
        assert_eq!(files_below(cache.path()), Vec::<String>::new(), "{name}");
    }
}

#[tokio::test]
async fn what_is_no_symbol_file_of_this_id_counts_as_missing() {
    let other = text().replace(ID, &ID.replace('5', "6"));
    for body in [other, "<html>Sign in</html>".to_owned(), String::new()] {
        let cache = tempfile::tempdir().unwrap();
        let answer = body.clone();
        let server = Server::start(move |_| Response::new(Body::from(answer.clone()))).await;
        let symbols = Symbols::open(&config(cache.path(), &[&server])).unwrap();
        assert_eq!(symbols.locate("app.pdb", ID).await, Found::Missing, "{body:.40}");
        assert_eq!(symbols.locate("app.pdb", ID).await, Found::Missing, "{body:.40}");
        assert_eq!(server.asked(), 1, "{body:.40}");
    }
}

#[tokio::test]
async fn a_file_over_the_size_limit_is_not_taken_whether_its_length_is_announced_or_not() {
    for announced in [true, false] {
        let cache = tempfile::tempdir().unwrap();
        let server = Server::start(move |_| {
            let chunks = stream::iter([Ok::<_, Infallible>(text()), Ok(text())]);
            Response::new(if announced { Body::from(text().repeat(2)) } else { Body::from_stream(chunks) })
        })
        .await;
        let max_file_size = settings::Size::from_bytes(text().len() as u64);
        let config = Config { max_file_size, ..config(cache.path(), &[&server]) };
        assert_eq!(
            Symbols::open(&config).unwrap().locate("app.pdb", ID).await,
            Found::Missing,
            "{announced}"
        );
    }
}

#[tokio::test]
async fn hostile_names_reach_neither_server_nor_disk() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Response::new(Body::from(text()))).await;
    let symbols = Symbols::open(&config(cache.path(), &[&server])).unwrap();
    for (name, id) in [
        ("..", ID),
        ("../../etc/passwd\0", ID),
        ("", ID),
        ("app.pdb", "../../../../etc"),
        ("app.pdb", "000000000000000000000000000000000"),
        (&*"x".repeat(300), ID),
    ] {
        assert_eq!(symbols.locate(name, id).await, Found::Missing, "{name} {id}");
    }
    assert_eq!(server.asked(), 0);
    assert_eq!(files_below(cache.path()), Vec::<String>::new());
}

#[tokio::test]
async fn callers_who_want_the_same_file_share_one_download_which_outlives_them() {
    let cache = tempfile::tempdir().unwrap();
    let release = Arc::new(tokio::sync::Notify::new());
    let released = Arc::clone(&release);
    let server = Server::start(move |_| {
        let released = Arc::clone(&released);
        Response::new(Body::from_stream(stream::once(async move {
            released.notified().await;
            Ok::<_, Infallible>(text())
        })))
    })
    .await;
    let symbols = Symbols::open(&config(cache.path(), &[&server])).unwrap();

    let impatient = tokio::time::timeout(Duration::from_millis(50), symbols.locate("app.pdb", ID)).await;
    assert!(impatient.is_err());
    let (first, second, ()) =
        tokio::join!(symbols.locate("app.pdb", ID), symbols.locate("app.pdb", ID), async {
            release.notify_one();
        });
    assert!(matches!(first, Found::Located(_)));
    assert_eq!(first, second);
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn folders_come_first_and_need_no_cache() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.pdb").join(ID).join("app.sym");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text()).unwrap();

    let absent = folder.path().join("absent");
    let alone = Config {
        paths: vec![absent.clone(), folder.path().to_owned()],
        cache: absent.clone(),
        ..Config::default()
    };
    let symbols = Symbols::open(&alone).unwrap();
    assert_eq!(symbols.locate("app.pdb", ID).await, Found::Located(path.clone()));
    assert_eq!(symbols.locate("app.pdb", &ID.replace('5', "6")).await, Found::Missing);
    assert!(!absent.exists());

    let server = Server::answering(StatusCode::NOT_FOUND).await;
    let cache = tempfile::tempdir().unwrap();
    let both = Config { paths: alone.paths, ..config(cache.path(), &[&server]) };
    assert_eq!(Symbols::open(&both).unwrap().locate("app.pdb", ID).await, Found::Located(path));
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_makes_missing_files_unavailable() {
    // A loop of links is an error for everybody, root included.
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("loop");
    std::os::unix::fs::symlink(&link, &link).unwrap();
    let symbols = Symbols::open(&Config { paths: vec![link], ..Config::default() }).unwrap();
    let Found::Unavailable(why) = symbols.locate("app.pdb", ID).await else { panic!("available") };
    assert!(why.contains("cannot look into"), "{why}");
}

#[test]
fn the_configuration_reads_as_people_write_it() {
    let config: Config = toml::from_str(
        r#"
        paths = ["/srv/symbols"]
        servers = ["https://symbols.example/bucket"]
        timeout = "2m"
        max_file_size = "500MiB"
        "#,
    )
    .unwrap();
    assert_eq!(config.servers.len(), 1);
    assert_eq!(config.timeout, settings::Duration::from_secs(120));
    assert_eq!(config.connect_timeout, Config::default().connect_timeout);
    assert!(toml::from_str::<Config>("server = 'https://symbols.example'").is_err());
}
