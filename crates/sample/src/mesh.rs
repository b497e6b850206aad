//! A mesh in its file: kind of vertices, number of them, checksum of what follows, and then a vertex each three bytes.

use crate::vertex::{VertexBuffer, read_vertex};

const KIND: usize = 0;
const COUNT: usize = 1;
const CHECKSUM: usize = 2;
const VERTICES: usize = 3;
const BYTES_PER_VERTEX: usize = 3;

/// Parses a mesh, and says how many vertices it announced.
#[inline(never)]
pub(crate) fn parse_mesh(bytes: &[u8]) -> u8 {
    let (header, body) = bytes.split_at(VERTICES);
    verify_checksum(header, body);
    let announced = header.get(COUNT).copied().unwrap_or(0);
    let mut buffer = VertexBuffer::with_room_for(announced);
    let kind = header.get(KIND).copied().unwrap_or(0);
    // Vertices are numbered from 1, because 0 stands for none where faces refer to them.
    for (number, vertex) in (1..).zip(body.chunks_exact(BYTES_PER_VERTEX)) {
        read_vertex(kind, vertex, number, &mut buffer);
    }
    announced
}

#[inline(never)]
fn verify_checksum(header: &[u8], body: &[u8]) {
    if header.get(CHECKSUM) != Some(&checksum(body)) {
        give_up();
    }
}

#[inline(never)]
fn give_up() -> ! {
    std::process::abort()
}

fn checksum(body: &[u8]) -> u8 {
    body.iter().fold(0, |sum, byte| sum ^ byte)
}

/// A mesh without a mistake.
pub(crate) fn triangle() -> Vec<u8> {
    let body = [0, 0, 0, 4, 0, 0, 0, 4, 0];
    let mut bytes = vec![0, 3, checksum(&body)];
    bytes.extend(body);
    bytes
}

/// It still has them.
pub(crate) fn announce_no_vertices(mesh: &mut [u8]) {
    change(mesh, COUNT, |_| 0);
}

/// As a file that lost a bit on its way.
pub(crate) fn spoil_the_checksum(mesh: &mut [u8]) {
    change(mesh, CHECKSUM, |sum| !sum);
}

/// As a file of a later version of the format.
pub(crate) fn use_an_unknown_kind(mesh: &mut [u8]) {
    change(mesh, KIND, |_| u8::MAX);
}

fn change(mesh: &mut [u8], index: usize, to: impl Fn(u8) -> u8) {
    if let Some(byte) = mesh.get_mut(index) {
        *byte = to(*byte);
    }
}
