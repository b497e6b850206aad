//! A client that sends a report once and never again.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use testing::report;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// Sends a report; the crash id, if the collector has answered with one.
pub(crate) fn post(submit_url: &str, annotations: &[(&str, &str)], dump: &[u8]) -> Option<String> {
    let (content_type, body) = report::multipart(annotations, &[("upload_file_minidump", dump)]);
    let answer = exchange(submit_url, &content_type, &body).ok()?;
    let (head, text) = answer.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return None;
    }
    text.trim().strip_prefix("CrashID=bp-").map(str::to_owned)
}

/// Sends the head of a report, and returns when the collector waits for its body, of which so many bytes will come.
pub(crate) fn begin(submit_url: &str, content_type: &str, length: usize) -> io::Result<TcpStream> {
    let mut stream = head(submit_url, content_type, length, "Expect: 100-continue\r\n")?;
    let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut go_on)?;
    if !go_on.starts_with(b"HTTP/1.1 100 ") {
        return Err(io::Error::other(String::from_utf8_lossy(&go_on).into_owned()));
    }
    Ok(stream)
}

fn head(submit_url: &str, content_type: &str, length: usize, more: &str) -> io::Result<TcpStream> {
    let address = address(submit_url);
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(
        stream,
        "POST /submit HTTP/1.1\r\nHost: {address}\r\nContent-Type: {content_type}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n{more}\r\n"
    )?;
    Ok(stream)
}

/// Host and port of a submit URL.
pub(crate) fn address(submit_url: &str) -> &str {
    submit_url
        .strip_prefix("http://")
        .and_then(|rest| rest.strip_suffix("/submit"))
        .expect("a standalone's submit URL")
}

fn exchange(submit_url: &str, content_type: &str, body: &[u8]) -> io::Result<String> {
    let mut stream = head(submit_url, content_type, body.len(), "")?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
