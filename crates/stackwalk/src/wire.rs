//! What goes through the pipes between a pool and its workers: a length of four bytes, the lowest first, and that many
//! bytes.
//!
//! The pool sends a [`Setup`] as JSON and gets an empty frame when the worker is ready. From then on each frame to the
//! worker is a dump, and each frame back the [`Walked`](crate::Walked) of it, as JSON.

use std::io;

use serde::{Deserialize, Serialize};
use settings::{Duration, Size};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::Limits;

/// What a worker must know before its first dump.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) symbols: symbols::Config,
    /// The symbol servers with their passwords, which a configuration does not show.
    pub(crate) servers: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) memory: Size,
    /// CPU time for one dump.
    pub(crate) cpu: Duration,
}

/// The longest setup; it holds a handful of paths and addresses.
pub(crate) const LONGEST_SETUP: usize = 1 << 20;
/// The longest answer. The limits on frames and modules keep real ones under a few megabytes.
pub(crate) const LONGEST_ANSWER: usize = 64 << 20;

/// Sends a frame.
pub(crate) async fn write(pipe: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    pipe.write_all(&length.to_le_bytes()).await?;
    pipe.write_all(bytes).await?;
    pipe.flush().await
}

/// Receives a frame; nothing where the other side has closed the pipe.
pub(crate) async fn read(pipe: &mut (impl AsyncRead + Unpin), longest: usize) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match pipe.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > longest {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes is too long"),
        ));
    }
    let mut bytes = vec![0; length];
    pipe.read_exact(&mut bytes).await?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_arrive_as_they_were_sent() {
        let (mut here, mut there) = tokio::io::duplex(1 << 10);
        write(&mut here, b"dump").await.unwrap();
        write(&mut here, b"").await.unwrap();
        write(&mut here, b"too long").await.unwrap();
        drop(here);
        assert_eq!(read(&mut there, 4).await.unwrap().unwrap(), b"dump");
        assert_eq!(read(&mut there, 4).await.unwrap().unwrap(), b"");
        assert_eq!(read(&mut there, 4).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_closed_pipe_ends_the_frames_and_a_torn_frame_is_an_error() {
        assert_eq!(read(&mut &b""[..], 9).await.unwrap(), None);
        assert!(read(&mut &b"\x05\0\0\0abc"[..], 9).await.is_err());
    }
}
