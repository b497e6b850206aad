//! The header before each frame; its layout is in the crate's documentation.

use crash::CrashId;
use jiff::Timestamp;

/// Bytes of a header without its padding.
pub(crate) const FIXED: usize = 72;
/// The most that a header of this release takes: the padding is less than 8 bytes.
pub(crate) const ROOM: usize = FIXED + 7;
/// Magic and length, with which every skippable frame begins; also what an erasure rewrites.
pub(crate) const HEAD: usize = 8;
/// The version that this release writes, and the latest that it reads.
pub(crate) const VERSION: u16 = 1;
/// The raw frame's crash has a frame in the private area, or had one.
pub(crate) const HAS_PRIVATE: u32 = 1;
/// How every header begins.
pub(crate) const MAGIC: [u8; 4] = 0x184D_2A5C_u32.to_le_bytes();
/// How every erased frame begins.
const ERASED_MAGIC: [u8; 4] = 0x184D_2A5D_u32.to_le_bytes();
const MARK: [u8; 4] = *b"CMSF";
/// A frame of zstd has at least its magic, two bytes of header and a block.
const MIN_FRAME: u32 = 9;
/// Longer headers are nobody's: a later version has room here for fields of its own.
const MAX_HEADER: u64 = 4096;

/// What stands before a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u16,
    pub(crate) attempt: u16,
    pub(crate) id: CrashId,
    pub(crate) saved_at: Timestamp,
    /// Where in the segment this header stands.
    pub(crate) offset: u64,
    /// Where in the segment the first header of its batch stands: everything before was durable when this was written.
    pub(crate) batch: u64,
    pub(crate) flags: u32,
    pub(crate) frame_len: u32,
    pub(crate) frame_crc: u32,
    /// Bytes from the header's start to the frame.
    pub(crate) len: u64,
}

/// The length of a header that stands at `offset`: the frame after it starts at a multiple of 8, so that its first 8
/// bytes are never on both sides of a sector's border.
pub(crate) fn len_at(offset: u64) -> u64 {
    (offset + FIXED as u64).next_multiple_of(8) - offset
}

impl Header {
    /// Where the frame starts.
    pub(crate) fn frame_start(&self) -> u64 {
        self.offset + self.len
    }

    /// Where the frame ends, and the next header stands.
    pub(crate) fn end(&self) -> u64 {
        self.frame_start() + u64::from(self.frame_len)
    }

    /// Writes the header into the end of `room`, so that it touches the frame behind it; returns where it begins.
    pub(crate) fn write(&self, room: &mut [u8; ROOM]) -> usize {
        let len = usize::try_from(self.len).expect("a header that is written has at most 79 bytes");
        let rest = u32::try_from(len - HEAD).expect("a header that is written has at most 79 bytes");
        let mut bytes = Vec::with_capacity(len);
        bytes.extend(MAGIC);
        bytes.extend(rest.to_le_bytes());
        bytes.extend(MARK);
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.attempt.to_le_bytes());
        bytes.extend(self.id.to_bytes());
        bytes.extend(self.saved_at.as_microsecond().to_le_bytes());
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend(self.batch.to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.frame_len.to_le_bytes());
        bytes.extend(self.frame_crc.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes.resize(len, 0);
        let start = ROOM - len;
        room.get_mut(start..).expect("the header fits").copy_from_slice(&bytes);
        start
    }

    /// Reads the header that is said to stand at `offset`. Nothing, when these are no bytes of a header, or of one
    /// that was written for another place.
    pub(crate) fn read(bytes: &[u8], offset: u64) -> Option<Self> {
        if array::<4>(bytes, 0)? != MAGIC || array::<4>(bytes, 8)? != MARK {
            return None;
        }
        let header = Self {
            version: u16::from_le_bytes(array(bytes, 12)?),
            attempt: u16::from_le_bytes(array(bytes, 14)?),
            id: CrashId::from_bytes(array(bytes, 16)?).ok()?,
            saved_at: Timestamp::from_microsecond(i64::from_le_bytes(array(bytes, 32)?)).ok()?,
            offset: u64::from_le_bytes(array(bytes, 40)?),
            batch: u64::from_le_bytes(array(bytes, 48)?),
            flags: u32::from_le_bytes(array(bytes, 56)?),
            frame_len: u32::from_le_bytes(array(bytes, 60)?),
            frame_crc: u32::from_le_bytes(array(bytes, 64)?),
            len: u64::from(u32::from_le_bytes(array(bytes, 4)?)) + HEAD as u64,
        };
        let crc = u32::from_le_bytes(array(bytes, FIXED - 4)?);
        let whole = crc == crc32fast::hash(bytes.get(..FIXED - 4)?)
            && header.offset == offset
            && header.batch <= offset
            && (FIXED as u64..=MAX_HEADER).contains(&header.len)
            && header.frame_start().is_multiple_of(8)
            && header.frame_len >= MIN_FRAME;
        whole.then_some(header)
    }

    /// The 8 bytes that make the frame one that every zstd skips.
    pub(crate) fn erasure(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        let rest = self.frame_len.saturating_sub(8);
        for (byte, value) in bytes.iter_mut().zip(ERASED_MAGIC.into_iter().chain(rest.to_le_bytes())) {
            *byte = value;
        }
        bytes
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(offset: u64, frame_len: u32) -> Header {
        Header {
            version: VERSION,
            attempt: 3,
            id: "0b4d3a6e-72c1-4f0b-8a57-3c9d51261123".parse().unwrap(),
            saved_at: "2026-11-23T13:10:27.123456Z".parse().unwrap(),
            offset,
            batch: offset / 2,
            flags: HAS_PRIVATE,
            frame_len,
            frame_crc: 0x1234_5678,
            len: len_at(offset),
        }
    }

    fn written(header: &Header) -> Vec<u8> {
        let mut room = [0xff; ROOM];
        let start = header.write(&mut room);
        room[start..].to_vec()
    }

    proptest! {
        #[test]
        fn a_header_reads_back_at_its_own_place_alone(offset in 0u64..1 << 40, frame_len in 9u32..) {
            let header = header(offset, frame_len);
            let bytes = written(&header);
            prop_assert_eq!(bytes.len() as u64, len_at(offset));
            prop_assert_eq!(Header::read(&bytes, offset), Some(header));
            prop_assert_eq!(Header::read(&bytes, offset + 8), None);
        }

        #[test]
        fn the_bytes_that_an_erasure_rewrites_are_in_one_sector(offset in 0u64..1 << 40) {
            let start = header(offset, 9).frame_start();
            prop_assert_eq!(start / 512, (start + 7) / 512);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, offset: u64) {
            let _ = Header::read(&bytes, offset);
        }
    }

    #[test]
    fn a_header_with_any_changed_or_missing_byte_is_none() {
        let bytes = written(&header(4096, 100));
        for at in 0..FIXED {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Header::read(&changed, 4096), None, "{at}");
            assert_eq!(Header::read(&bytes[..at], 4096), None, "{at}");
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let hex: String = written(&header(4096, 100)).iter().map(|byte| format!("{byte:02x}")).collect();
        let fields = [
            "5c2a4d18",
            "40000000",
            "434d5346",
            "0100",
            "0300",
            "0b4d3a6e72c14f0b8a573c9d51261123",
            "00f94451f1600600",
            "0010000000000000",
            "0008000000000000",
            "01000000",
            "64000000",
            "78563412",
        ];
        assert!(hex.starts_with(&fields.concat()), "{hex}");
    }
}
