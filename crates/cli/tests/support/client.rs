//! A client that sends a report once and never again.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use testing::report;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// What a collector has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 200, and the crash id.
    Taken(String),
    /// Another status.
    Refused(u16),
    /// No connection, or it ended before the answer.
    Nothing(String),
}

impl Answer {
    /// The crash id, where there is one.
    pub(crate) fn id(self) -> Option<String> {
        match self {
            Self::Taken(id) => Some(id),
            Self::Refused(_) | Self::Nothing(_) => None,
        }
    }
}

/// Sends a report; the crash id, if the collector has answered with one.
pub(crate) fn post(submit_url: &str, annotations: &[(&str, &str)], dump: &[u8]) -> Option<String> {
    report(submit_url, annotations, dump).id()
}

/// Sends a report, and says what became of it.
pub(crate) fn report(submit_url: &str, annotations: &[(&str, &str)], dump: &[u8]) -> Answer {
    let (content_type, body) = report::multipart(annotations, &[("upload_file_minidump", dump)]);
    match exchange(submit_url, &content_type, &body) {
        Ok(answer) => read(&answer).unwrap_or_else(|| Answer::Nothing(format!("a torn answer: {answer:?}"))),
        Err(error) => Answer::Nothing(error.to_string()),
    }
}

fn read(answer: &str) -> Option<Answer> {
    let (head, text) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    if status != 200 {
        return Some(Answer::Refused(status));
    }
    text.trim().strip_prefix("CrashID=bp-").map(|id| Answer::Taken(id.to_owned()))
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

/// Sends a report, and returns the whole answer.
pub(crate) fn exchange(submit_url: &str, content_type: &str, body: &[u8]) -> io::Result<String> {
    let mut stream = head(submit_url, content_type, body.len(), "")?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
