//! A request's body as a stream of decoded bytes, counted and limited on the wire and after decoding.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use async_compression::{
    tokio::bufread::{GzipDecoder, ZlibDecoder, ZstdDecoder},
    zstd::DParameter,
};
use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use tokio::io::AsyncBufRead;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::{
    answer::Malformed,
    pace::{Pace, Paced},
    payload::Encoding,
};

/// Decoded bytes, until the end or the first error.
pub(crate) type Decoded = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// So much is given in one turn, in bytes.
const TURN: usize = 16 * 1024;
/// The most that is read in search of the next part, in bytes: two turns and their last chunks fit well.
const MAX_HEAD: usize = 256 * 1024;
/// The largest window of zstd, as an exponent: the 8 MiB that every decoder of HTTP has to take, and no more.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A stream of which another handle can read what a first reader left.
///
/// The parser of multipart takes all that a stream has ready before it looks at any of it, which for a body that
/// inflates is everything; and it searches a part's head from the beginning with every chunk. So the stream pauses
/// after every turn, and ends where a head has no end.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Source>>);

struct Source {
    stream: Decoded,
    given_in_turn: usize,
    head_left: Option<usize>,
}

impl Shared {
    pub(crate) fn new(stream: Decoded) -> Self {
        Self(Arc::new(Mutex::new(Source { stream, given_in_turn: 0, head_left: None })))
    }

    /// What is read from here on is the head of a part, which has a limit.
    pub(crate) fn begin_head(&self) {
        self.lock().head_left = Some(MAX_HEAD);
    }

    /// What is read from here on is the content of a part.
    pub(crate) fn begin_content(&self) {
        self.lock().head_left = None;
    }

    fn lock(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads to the end, so that lengths, checksums and limits hold for the whole body.
    ///
    /// # Errors
    /// The first error that the rest of the body brings.
    pub(crate) async fn drain(mut self) -> Result<(), BodyError> {
        while let Some(chunk) = self.next().await {
            chunk?;
        }
        Ok(())
    }
}

impl Stream for Shared {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.lock().poll_next(context)
    }
}

impl Source {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.given_in_turn >= TURN {
            self.given_in_turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = self.stream.as_mut().poll_next(context);
        match &next {
            Poll::Ready(Some(Ok(chunk))) => {
                self.given_in_turn += chunk.len();
                if let Some(left) = &mut self.head_left {
                    let Some(rest) = left.checked_sub(chunk.len()) else {
                        return Poll::Ready(Some(Err(BodyError::EndlessHead)));
                    };
                    *left = rest;
                }
            }
            Poll::Ready(_) | Poll::Pending => self.given_in_turn = 0,
        }
        next
    }
}

/// Why a body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is larger than the limit")]
    TooLarge,
    #[error("the body cannot be decoded")]
    BadEncoding,
    #[error("the head of a part has no end")]
    EndlessHead,
    #[error("the client sends too slowly")]
    TooSlow,
    #[error("the client went away")]
    Aborted,
}

/// Sizes of a body, counted while it is read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sizes {
    wire: Arc<AtomicU64>,
    inflated: Arc<AtomicU64>,
}

impl Sizes {
    pub(crate) fn wire(&self) -> u64 {
        self.wire.load(Ordering::Relaxed)
    }

    pub(crate) fn inflated(&self) -> u64 {
        self.inflated.load(Ordering::Relaxed)
    }
}

/// The largest body, in bytes, and the slowest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) wire: u64,
    pub(crate) inflated: u64,
    pub(crate) pace: Pace,
}

/// The encoding that a request's headers name.
///
/// # Errors
/// [`Malformed::UnsupportedEncoding`] for one that is not gzip, deflate, zstd or identity.
pub(crate) fn encoding(headers: &HeaderMap) -> Result<Encoding, Malformed> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    let name = value.to_str().map_err(|_| Malformed::UnsupportedEncoding)?.trim().to_ascii_lowercase();
    match name.as_str() {
        "" | "identity" => Ok(Encoding::Identity),
        "gzip" | "x-gzip" => Ok(Encoding::Gzip),
        "deflate" => Ok(Encoding::Deflate),
        "zstd" => Ok(Encoding::Zstd),
        _ => Err(Malformed::UnsupportedEncoding),
    }
}

/// What decoding takes beside the bytes that come out, in bytes: the window of zstd; that of the others is small.
pub(crate) fn window(encoding: Encoding) -> u64 {
    match encoding {
        Encoding::Zstd => 1 << ZSTD_WINDOW_LOG,
        Encoding::Identity | Encoding::Gzip | Encoding::Deflate => 0,
    }
}

/// The body's bytes, decoded. Nothing is read ahead of what the caller takes, so an oversized body costs no memory.
pub(crate) fn decode(body: Body, encoding: Encoding, limits: Limits) -> (Decoded, Sizes) {
    let sizes = Sizes::default();
    let wire = limited(
        body.into_data_stream().map_err(|_| BodyError::Aborted),
        limits.wire,
        Arc::clone(&sizes.wire),
    );
    let wire: Decoded = Box::pin(Paced::new(wire, Arc::clone(&sizes.wire), limits.pace));
    let decoded: Decoded = match encoding {
        Encoding::Identity => wire,
        Encoding::Gzip => {
            let mut decoder = GzipDecoder::new(reader(wire));
            decoder.multiple_members(true);
            stream(decoder)
        }
        Encoding::Deflate => stream(ZlibDecoder::new(reader(wire))),
        Encoding::Zstd => {
            stream(ZstdDecoder::with_params(reader(wire), &[DParameter::window_log_max(ZSTD_WINDOW_LOG)]))
        }
    };
    (limited(decoded, limits.inflated, Arc::clone(&sizes.inflated)), sizes)
}

/// Passes a stream on while its sum is within the limit.
fn limited<S>(stream: S, limit: u64, sum: Arc<AtomicU64>) -> Decoded
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
{
    Box::pin(stream.map(move |chunk| {
        let chunk = chunk?;
        let length = chunk.len() as u64;
        if sum.fetch_add(length, Ordering::Relaxed) + length > limit {
            Err(BodyError::TooLarge)
        } else {
            Ok(chunk)
        }
    }))
}

fn reader(wire: Decoded) -> impl AsyncBufRead + Send {
    StreamReader::new(wire.map_err(io::Error::other))
}

fn stream(decoder: impl tokio::io::AsyncRead + Send + 'static) -> Decoded {
    Box::pin(ReaderStream::with_capacity(decoder, 64 * 1024).map_err(|error| {
        // An error of the wire comes through the decoder unchanged; every other one is the decoder's own.
        error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<BodyError>())
            .copied()
            .unwrap_or(BodyError::BadEncoding)
    }))
}
