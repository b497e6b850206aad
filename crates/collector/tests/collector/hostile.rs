//! Clients that send too much, too slowly, or not to the end.

use crate::support::{Answer, Collector, DEADLINE, answer, head};
use async_compression::tokio::bufread::GzipEncoder;
use testing::{eventually, report};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const FORM: &str = "multipart/form-data; boundary=b";

async fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzipEncoder::new(plain).read_to_end(&mut bytes).await.expect("memory can be encoded");
    bytes
}

/// Sends a part that is small on the wire and large once it is decoded.
async fn post_part(collector: &Collector, name: &str, content: &str) -> Answer {
    let body =
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n--b--\r\n");
    let headers = [("Content-Type", FORM), ("Content-Encoding", "gzip")];
    collector.post(&headers, &gzip(body.as_bytes()).await).await
}

/// A request that announces more than it sends: its head, and so many bytes of a dump.
fn unfinished(bytes: usize) -> Vec<u8> {
    let head = head("POST", &[("Content-Type", FORM), ("Content-Length", "1000000")]);
    let part = "--b\r\nContent-Disposition: form-data; name=\"upload_file_minidump\"\r\n\r\n";
    [head.as_bytes(), part.as_bytes(), &vec![b'x'; bytes]].concat()
}

#[tokio::test]
async fn a_json_object_that_is_too_large_is_refused() {
    let collector = Collector::start("large_extra").await;
    let entries = |count| format!("{{\"a\":0{}}}", ",\"a\":0".repeat(count));
    let refused = post_part(&collector, "extra", &entries(10_000_000)).await;
    assert_eq!(refused, (413, "Discarded=malformed_too_large".to_owned()));
    let crash = collector.stored(&post_part(&collector, "extra", &entries(100_000)).await).await;
    assert_eq!(crash.annotations.get("a"), Some("0"));
    assert_eq!(crash.metadata.notes, ["duplicate_annotation"]);
    collector.stop().await;
}

#[tokio::test]
async fn a_long_name_is_cut_and_one_without_an_end_is_refused() {
    let collector = Collector::start("long_name").await;
    let crash = collector.stored(&post_part(&collector, &"n".repeat(300), "value").await).await;
    assert_eq!(crash.annotations.get(&"n".repeat(256)), Some("value"));
    assert_eq!(crash.metadata.notes, ["name_cleaned"]);
    let refused = post_part(&collector, &"n".repeat(20 << 20), "value").await;
    assert_eq!(refused, (400, "Discarded=malformed_invalid_payload_structure".to_owned()));
    collector.stop().await;
}

#[tokio::test]
async fn a_large_annotation_is_cut_between_characters() {
    let collector = Collector::start("large_annotation").await;
    let crash = collector.stored(&post_part(&collector, "aa", &"\u{e9}".repeat(3 << 20)).await).await;
    assert_eq!(crash.annotations.get("aa").map(str::len), Some((1 << 20) - 2));
    assert_eq!(crash.metadata.notes, ["annotation_text_cut"]);
    collector.stop().await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let collector = Collector::with("slow_body", &testing::amqp_url(), |config| {
        config.min_body_rate = settings::Size::mib(100);
        config.min_body_rate_after = settings::Duration::from_millis(50);
    })
    .await;
    let slow = collector.begin(&unfinished(1000)).await;
    assert_eq!(answer(slow).await, (408, String::new()));
    collector.stop().await;
}

#[tokio::test]
async fn many_slow_bodies_do_not_keep_others_out() {
    let collector = Collector::start("slow_bodies").await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        slow.push(collector.begin(&unfinished(1000)).await);
    }
    let (content_type, body) = report::multipart(&[("a", "b")], &[]);
    collector.stored(&collector.post(&[("Content-Type", &content_type)], &body).await).await;
    drop(slow);
    collector.stop().await;
}

#[tokio::test]
async fn a_report_for_which_there_is_no_memory_is_answered_503_until_there_is() {
    let collector = Collector::with("memory", &testing::amqp_url(), |config| {
        config.max_bytes_in_memory = settings::Size::kib(512);
        config.memory_timeout = settings::Duration::from_millis(50);
    })
    .await;
    let (content_type, body) = report::multipart(&[], &[("upload_file_minidump", &[1; 300_000])]);
    let headers = [("Content-Type", content_type.as_str())];
    let slow = collector.begin(&unfinished(300_000)).await;
    // As soon as the collector has read what the slow one sent, there is no place for another.
    let status = async |wanted| {
        let looked = async || (collector.post(&headers, &body).await.0 == wanted).then_some(());
        eventually(DEADLINE, looked).await;
    };
    status(503).await;
    drop(slow);
    status(200).await;
    collector.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_hung_up_on() {
    let collector = Collector::with("slow_head", &testing::amqp_url(), |config| {
        config.header_timeout = settings::Duration::from_millis(50);
    })
    .await;
    let stream = collector.begin(b"POST /submit HTTP/1.1\r\nHost:").await;
    closed(stream).await;
    collector.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_does_not_hold_up_the_end() {
    let collector = Collector::with("stop", &testing::amqp_url(), |config| {
        config.drain_timeout = settings::Duration::from_millis(100);
    })
    .await;
    let body = collector.begin(&unfinished(1000)).await;
    let head = collector.begin(b"POST /submit HTTP/1.1\r\nHost:").await;
    collector.stop().await;
    closed(body).await;
    closed(head).await;
}

#[tokio::test]
async fn a_request_that_was_begun_is_answered_before_the_end() {
    let mut collector = Collector::start("drain").await;
    let (content_type, body) = report::multipart(&[("a", "b")], &[]);
    let length = body.len().to_string();
    let head = head(
        "POST",
        &[("Content-Type", &content_type), ("Content-Length", &length), ("Expect", "100-continue")],
    );
    let mut stream = collector.begin(head.as_bytes()).await;
    // The handler runs when it asks for the body.
    let mut go_on = [0; 25];
    timeout(DEADLINE, stream.read_exact(&mut go_on)).await.unwrap().unwrap();
    assert_eq!(&go_on[..], b"HTTP/1.1 100 Continue\r\n\r\n");

    collector.asked_to_end().await;
    stream.write_all(&body).await.unwrap();
    let answered = answer(stream).await;
    collector.end().await;
    collector.stored(&answered).await;
}

/// Waits until the collector has hung up.
async fn closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // Either an end or a reset; what counts is that it comes.
    timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("it hangs up in time").unwrap_or_default();
}
