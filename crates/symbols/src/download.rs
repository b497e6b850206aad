//! One file from one server into the cache.

use std::{path::PathBuf, sync::Arc};

use reqwest::{Client, Response, StatusCode};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt as _;

use crate::{cache::Cache, key::Key, server::Server};

/// `MODULE <os> <cpu> <id> <name>`; names are shorter than this.
const LONGEST_FIRST_LINE: usize = 4096;

/// What a server did with a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The file is in the cache.
    Saved(PathBuf),
    /// The server does not have it, or what it has under the name is of no use.
    Absent,
    /// The server works, but not for this file now.
    Refused(String),
    /// The server does not work.
    Failed(String),
}

/// Asks for a file and saves it. The client bounds the time.
pub(crate) async fn download(
    client: &Client,
    server: &Server,
    key: &Key,
    cache: &Arc<Cache>,
    most: u64,
) -> Answer {
    let Some(url) = key.on(&server.url) else { return Answer::Absent };
    let response = match client.get(url).send().await {
        Ok(response) => response,
        Err(error) => return Answer::Failed(told(error)),
    };
    let status = response.status();
    match status {
        StatusCode::OK => save(response, server, key, cache, most).await,
        StatusCode::NOT_FOUND | StatusCode::GONE => Answer::Absent,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Answer::Refused(format!(
            "it answered {}: it needs credentials, or it is a bucket that answers so for what it lacks until listing is allowed",
            status.as_u16()
        )),
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Answer::Failed(format!("it answered {}", status.as_u16()))
        }
        _ => Answer::Refused(format!("it answered {}", status.as_u16())),
    }
}

async fn save(mut response: Response, server: &Server, key: &Key, cache: &Arc<Cache>, most: u64) -> Answer {
    let of_no_use = |why: &str| {
        let (server, debug_file, debug_id) = (server.name(), key.debug_file(), key.debug_id());
        tracing::warn!(server, debug_file, debug_id, why, "what a symbol server has is of no use");
        Answer::Absent
    };
    if response.content_length().is_some_and(|length| length > most) {
        return of_no_use("it is larger than symbols.max_file_size");
    }
    let cannot_save =
        |error: std::io::Error| Answer::Refused(format!("the symbol cache cannot save it: {error}"));
    let (mut file, path) = match cache.temporary().map(NamedTempFile::into_parts) {
        Ok((file, path)) => (tokio::fs::File::from_std(file), path),
        Err(error) => return cannot_save(error),
    };

    let mut first_line = FirstLine::default();
    let mut length = 0;
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            // A damaged file or a slow one is no reason to leave the whole server alone.
            Err(error) => return Answer::Refused(told(error)),
        };
        length += chunk.len() as u64;
        if length > most {
            return of_no_use("it is larger than symbols.max_file_size");
        }
        if first_line.take(&chunk).is_break() && !first_line.is_module(key.debug_id()) {
            return of_no_use("its first line is no MODULE record of this debug id");
        }
        if let Err(error) = file.write_all(&chunk).await {
            return cannot_save(error);
        }
    }
    if !first_line.is_module(key.debug_id()) {
        return of_no_use("its first line is no MODULE record of this debug id");
    }
    if let Err(error) = file.flush().await {
        return cannot_save(error);
    }

    let download = NamedTempFile::from_parts(file.into_std().await, path);
    let (cache, key) = (Arc::clone(cache), key.clone());
    match tokio::task::spawn_blocking(move || cache.keep(download, &key)).await {
        Ok(Ok(path)) => Answer::Saved(path),
        Ok(Err(error)) => cannot_save(error),
        Err(error) => cannot_save(error.into()),
    }
}

/// The error and its causes in one line, without the address: it may carry a password.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Collects the first line of a stream of bytes.
#[derive(Debug, Default)]
struct FirstLine {
    line: Vec<u8>,
    ended: bool,
}

impl FirstLine {
    /// Breaks once the line is whole, or longer than any.
    fn take(&mut self, bytes: &[u8]) -> std::ops::ControlFlow<()> {
        if !self.ended {
            let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
            self.line.extend_from_slice(line.get(..LONGEST_FIRST_LINE).unwrap_or(line));
            self.ended = line.len() < bytes.len() || self.line.len() >= LONGEST_FIRST_LINE;
        }
        if self.ended { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    }

    /// Whether it says that the symbols are those of the debug id.
    fn is_module(&self, debug_id: &str) -> bool {
        let mut words = self.line.split(u8::is_ascii_whitespace);
        self.ended
            && words.next() == Some(b"MODULE")
            && words.nth(2).is_some_and(|id| id.eq_ignore_ascii_case(debug_id.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5A9832E5287241C1838ED98914E9B7FF1";

    fn is_module(chunks: &[&str]) -> bool {
        let mut line = FirstLine::default();
        for chunk in chunks {
            if line.take(chunk.as_bytes()).is_break() {
                break;
            }
        }
        line.is_module(ID)
    }

    #[test]
    fn a_first_line_of_the_wanted_id_is_recognised_however_it_is_cut() {
        let text = format!("MODULE windows x86 {ID} app.pdb\r\nFILE 0 a.c\n");
        assert!(is_module(&[&text]));
        assert!(is_module(&["MOD", "ULE windows x86 ", ID, " app.pdb\n"]));
        assert!(is_module(&[&text.to_lowercase().replace("module", "MODULE")]));
    }

    #[test]
    fn anything_else_is_not() {
        let other = text_of("5A9832E5287241C1838ED98914E9B7FF2");
        for text in
            [&*other, "", "\n", "<!DOCTYPE html>\n", &text_of(ID).replace('\n', ""), &"a".repeat(1 << 16)]
        {
            assert!(!is_module(&[text]), "{:?}", text.get(..40));
        }
    }

    fn text_of(id: &str) -> String {
        format!("MODULE Linux x86_64 {id} app\n")
    }
}
