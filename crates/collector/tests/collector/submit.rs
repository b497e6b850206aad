//! Reports over HTTP, and what a client is told.

use crate::support::{Answer, Collector, chunked, head};
use async_compression::tokio::bufread::{GzipEncoder, ZlibEncoder, ZstdEncoder};
use crash::{AnnotationValue, MAIN_DUMP, Throttle};
use testing::{Proxy, report};
use tokio::io::{AsyncRead, AsyncReadExt};

const DUMP: &[u8] = b"MDMP and what follows";

fn body() -> (String, Vec<u8>) {
    report::multipart(&[("ProductName", "Sample"), ("Version", "1.0")], &[(MAIN_DUMP, DUMP)])
}

async fn read(mut encoder: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    encoder.read_to_end(&mut bytes).await.expect("memory can be encoded");
    bytes
}

fn discarded(status: u16, reason: &str) -> Answer {
    (status, format!("Discarded=malformed_{reason}"))
}

#[tokio::test]
async fn a_report_is_stored_whole_and_answered_with_its_id() {
    let collector = Collector::start("whole").await;
    let plugin = [0, 159, 146, 150].repeat(1000);
    let fields = [("ProductName", "Sample"), ("Email", "a@b.example"), ("Notes", "caf\u{e9}")];
    let (content_type, body) =
        report::multipart(&fields, &[("upload_file_minidump_plugin", &plugin), (MAIN_DUMP, DUMP)]);

    let answer =
        collector.post(&[("Content-Type", &content_type), ("User-Agent", "sender/1.0")], &body).await;
    let crash = collector.stored(&answer).await;

    assert_eq!(crash.annotations.get("ProductName"), Some("Sample"));
    assert_eq!(crash.annotations.get("Notes"), Some("caf\u{e9}"));
    assert_eq!((crash.annotations.get("Email"), crash.private.get("Email")), (None, Some("a@b.example")));
    let dumps: Vec<_> = crash.dumps.iter().map(|dump| (dump.name.as_str(), &dump.bytes[..])).collect();
    assert_eq!(
        dumps,
        [(MAIN_DUMP, DUMP), ("upload_file_minidump_plugin", &plugin[..])],
        "the main dump comes first"
    );
    let metadata = &crash.metadata;
    assert_eq!((metadata.throttle, metadata.sample_rate), (Throttle::Accept, 1.0));
    assert_eq!((metadata.encoding.as_str(), metadata.bytes_wire), ("identity", body.len() as u64));
    assert_eq!(metadata.user_agent.as_deref(), Some("sender/1.0"));
    assert_eq!(metadata.submitted_at.as_second(), metadata.crash_id.received_at().as_second());
    collector.stop().await;
}

#[tokio::test]
async fn every_encoding_and_framing_gives_the_same_crash() {
    let collector = Collector::start("encodings").await;
    let (content_type, plain) = body();
    let encoded = [
        ("identity", plain.clone()),
        ("gzip", read(GzipEncoder::new(&plain[..])).await),
        ("deflate", read(ZlibEncoder::new(&plain[..])).await),
        ("zstd", read(ZstdEncoder::new(&plain[..])).await),
    ];
    for (encoding, sent) in encoded {
        let headers = [("Content-Type", content_type.as_str()), ("Content-Encoding", encoding)];
        let with_length = collector.post(&headers, &sent).await;
        let chunked_head = head("POST", &[headers[0], headers[1], ("Transfer-Encoding", "chunked")]);
        let in_chunks = collector.send(&[chunked_head.as_bytes(), &chunked(&sent, 7)].concat()).await;
        for answer in [with_length, in_chunks] {
            let crash = collector.stored(&answer).await;
            assert_eq!(crash.annotations.get("Version"), Some("1.0"), "{encoding}");
            assert_eq!(&crash.dumps[0].bytes[..], DUMP, "{encoding}");
            assert_eq!(crash.metadata.encoding, encoding);
            assert_eq!(
                (crash.metadata.bytes_wire, crash.metadata.bytes_inflated),
                (sent.len() as u64, plain.len() as u64),
                "{encoding}"
            );
        }
    }
    collector.stop().await;
}

#[tokio::test]
async fn a_part_is_told_by_its_name_and_its_first_bytes() {
    let collector = Collector::start("parts").await;
    let body = [
        "--b\r\nContent-Disposition: form-data; name=\"extra\"; filename=\"extra.json\"\r\nContent-Type: application/json\r\n\r\n",
        "{\"ProductName\":\"Sample\",\"Count\":3}\r\n",
        "--b\r\nContent-Disposition: form-data; name=\"upload_file_minidump\"\r\nContent-Type: application/vnd.tcpdump.pcap\r\n\r\nnot magic\r\n",
        "--b\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nMDMP by its magic\r\n",
        "--b\r\nContent-Disposition: form-data; name=\"log\"; filename=\"C:\\..\\log.txt\"\r\n\r\nattached\r\n",
        "--b\r\nContent-Disposition: form-data\r\n\r\nno name\r\n",
        "--b\r\nContent-Disposition: form-data; name=\"Version\"\r\n\r\n1\r\n",
        "--b\r\nContent-Disposition: form-data; name=\"Version\"\r\n\r\n2\r\n--b--\r\n",
    ]
    .concat();
    let answer = collector
        .post(&[("Content-Type", "Multipart/Mixed; charset=utf-8; boundary=\"b\"")], body.as_bytes())
        .await;
    let crash = collector.stored(&answer).await;

    let annotations: Vec<_> =
        crash.annotations.iter().map(|(name, value)| (name, value.as_text().unwrap())).collect();
    assert_eq!(annotations, [("Count", "3"), ("ProductName", "Sample"), ("Version", "2")]);
    let dumps: Vec<_> = crash.dumps.iter().map(|dump| dump.name.as_str()).collect();
    assert_eq!(dumps, [MAIN_DUMP, "other", "log"]);
    assert_eq!(crash.metadata.notes, ["nameless_part_dropped", "duplicate_annotation"]);
    collector.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_text_are_kept() {
    let collector = Collector::start("bytes").await;
    let body = [
        &b"--b\r\nContent-Disposition: form-data; name=\"Name\"\r\n\r\n"[..],
        &[0xff, 0, 0xfe],
        b"\r\n--b--\r\n",
    ]
    .concat();
    let answer = collector.post(&[("Content-Type", "multipart/form-data; boundary=b")], &body).await;
    let crash = collector.stored(&answer).await;
    assert_eq!(crash.annotations.value("Name"), Some(&AnnotationValue::Bytes(vec![0xff, 0, 0xfe])));
    collector.stop().await;
}

#[tokio::test]
async fn a_report_that_cannot_be_understood_is_answered_with_the_reason() {
    let collector = Collector::with("malformed", &testing::amqp_url(), |config| {
        config.max_body = settings::Size::kib(64);
        config.max_inflated_body = settings::Size::kib(256);
    })
    .await;
    let (content_type, plain) = body();
    let form = [("Content-Type", content_type.as_str())];
    let gzip = [form[0], ("Content-Encoding", "gzip")];
    let brotli = [form[0], ("Content-Encoding", "br")];
    let json = |text: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"extra\"\r\n\r\n{text}\r\n--b--\r\n")
            .into_bytes()
    };
    let simple = [("Content-Type", "multipart/form-data; boundary=b")];
    let bomb = read(GzipEncoder::new(&vec![0; 1 << 20][..])).await;
    let whole = read(GzipEncoder::new(&plain[..])).await;

    type Case<'a> = (&'a [(&'a str, &'a str)], Vec<u8>, Answer);
    let cases: Vec<Case<'_>> = vec![
        (&[], plain.clone(), discarded(400, "no_content_type")),
        (&[("Content-Type", "text/plain")], plain.clone(), discarded(400, "wrong_content_type")),
        (&[("Content-Type", "multipart/form-data")], plain.clone(), discarded(400, "no_boundary")),
        (&form, vec![], discarded(400, "empty_body")),
        (&gzip, plain.clone(), discarded(400, "bad_gzip")),
        (&gzip, whole[..whole.len() / 2].to_vec(), discarded(400, "bad_gzip")),
        (&gzip, whole[..whole.len() - 1].to_vec(), discarded(400, "bad_gzip")),
        (&simple, json("{"), discarded(400, "invalid_json")),
        (&simple, json("[1]"), discarded(400, "invalid_json_value")),
        (&simple, json("{}"), discarded(400, "no_annotations")),
        (&simple, plain.clone(), discarded(400, "invalid_payload_structure")),
        (&form, vec![b'x'; 70_000], discarded(413, "too_large")),
        (&gzip, bomb, discarded(413, "too_large")),
        (&brotli, plain.clone(), discarded(415, "unsupported_encoding")),
    ];
    for (headers, body, expected) in cases {
        assert_eq!(collector.post(headers, &body).await, expected, "{headers:?}");
    }
    assert_eq!(collector.count().await, 0, "nothing of it is stored");
    collector.stop().await;
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_before_it_is_read() {
    let collector = Collector::start("announced").await;
    let request = head(
        "POST",
        &[("Content-Type", "multipart/form-data; boundary=b"), ("Content-Length", "1000000000000")],
    );
    assert_eq!(collector.send(request.as_bytes()).await, discarded(413, "too_large"));
    collector.stop().await;
}

#[tokio::test]
async fn only_posts_are_taken() {
    let collector = Collector::start("methods").await;
    for method in ["GET", "PUT"] {
        assert_eq!(
            collector.send(head(method, &[("Content-Length", "0")]).as_bytes()).await.0,
            405,
            "{method}"
        );
    }
    collector.stop().await;
}

#[tokio::test]
async fn annotations_beyond_the_limits_are_dropped_with_a_note() {
    let collector = Collector::with("limits", &testing::amqp_url(), |config| {
        config.max_annotations = 2;
        config.max_annotation_text = settings::Size::from_bytes(12);
    })
    .await;
    let (content_type, body) = report::multipart(&[("a", "1234"), ("b", "56789\u{e9}"), ("c", "x")], &[]);
    let crash = collector.stored(&collector.post(&[("Content-Type", &content_type)], &body).await).await;
    let annotations: Vec<_> =
        crash.annotations.iter().map(|(name, value)| (name, value.as_text().unwrap())).collect();
    assert_eq!(annotations, [("a", "1234"), ("b", "56789")], "the cut is between characters");
    assert_eq!(crash.metadata.notes, ["too_many_annotations", "annotation_text_cut"]);
    collector.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    // With one place, a client is let in only when the collector has done with the one before it.
    let mut collector =
        Collector::with("aborted", &testing::amqp_url(), |config| config.max_connections = 1).await;
    let (content_type, body) = body();
    let head = head("POST", &[("Content-Type", &content_type), ("Content-Length", &body.len().to_string())]);
    drop(collector.begin(&[head.as_bytes(), &body[..body.len() - 5]].concat()).await);
    collector.stored(&collector.post(&[("Content-Type", &content_type)], &body).await).await;
    collector.end().await;
    assert_eq!(collector.count().await, 1, "{}", collector.store().display());
}

#[tokio::test]
async fn without_a_broker_reports_are_taken_and_their_ids_journaled() {
    let proxy = Proxy::to_url(&testing::amqp_url());
    proxy.cut();
    let collector = Collector::with("no_broker", &proxy.url(), |_| ()).await;
    let (content_type, body) = body();
    let crash = collector.stored(&collector.post(&[("Content-Type", &content_type)], &body).await).await;

    let config = queue::Config { journal: collector.folder().join("journal"), ..Default::default() };
    assert!(queue::is_journaled(&config, crash.id()).unwrap());
    let health = collector.health().await;
    assert_eq!(health.0, 200, "a collector without a broker can do its work: {}", health.1);
    collector.stop().await;
}

#[tokio::test]
async fn a_crash_that_cannot_be_stored_is_not_answered_200() {
    let collector = Collector::start("no_store").await;
    // The disk is as good as gone: where the folders were is something else.
    std::fs::remove_dir_all(collector.store().join("raw")).unwrap();
    std::fs::write(collector.store().join("raw"), "in the way").unwrap();
    let (content_type, body) = body();
    let answer = collector.post(&[("Content-Type", &content_type)], &body).await;
    assert_eq!(answer, (503, String::new()));
    let health = collector.health().await;
    assert_eq!(health.0, 503, "{}", health.1);
    assert!(health.1.contains(r#""crashstore":{"need":"required","state":"down""#), "{}", health.1);

    std::fs::remove_file(collector.store().join("raw")).unwrap();
    std::fs::create_dir(collector.store().join("raw")).unwrap();
    collector.stored(&collector.post(&[("Content-Type", &content_type)], &body).await).await;
    assert_eq!(collector.health().await.0, 200, "the next good save says so");
    collector.stop().await;
}

#[tokio::test]
async fn a_crash_whose_id_nothing_takes_is_stored_and_answered_all_the_same() {
    let proxy = Proxy::to_url(&testing::amqp_url());
    proxy.cut();
    let collector = Collector::with_sections("no_journal", &proxy.url(), |sections| {
        sections.queue.journal_limit = settings::Size::from_bytes(1);
    })
    .await;
    let (content_type, body) = body();
    collector.stored(&collector.post(&[("Content-Type", &content_type)], &body).await).await;
    let health = collector.health().await;
    assert_eq!(health.0, 200, "{}", health.1);
    assert!(health.1.contains(r#""journal":{"need":"optional","state":"down""#), "{}", health.1);
    collector.stop().await;
}
