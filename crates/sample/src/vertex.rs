//! Vertices, and the buffer that trusts what the mesh announced. Here it goes wrong.

use std::ptr;

#[derive(Clone, Copy)]
struct Vertex {
    _position: [f32; 3],
}

/// Room for the vertices of a mesh; a mesh without vertices has a null pointer, as from C's `malloc(0)`.
pub(crate) struct VertexBuffer {
    first: *mut Vertex,
    _room: Vec<Vertex>,
}

impl VertexBuffer {
    pub(crate) fn with_room_for(announced: u8) -> Self {
        // The number 0 is never used.
        let mut room = vec![Vertex { _position: [0.0; 3] }; usize::from(announced) + 1];
        let first = if announced == 0 { ptr::null_mut() } else { room.as_mut_ptr() };
        Self { first, _room: room }
    }
}

/// Reads one vertex into its place.
#[inline(never)]
pub(crate) fn read_vertex(kind: u8, bytes: &[u8], number: usize, buffer: &mut VertexBuffer) {
    let position = match (kind, bytes) {
        (0, &[x, y, z]) => [x, y, z].map(f32::from),
        _ => unknown_kind(),
    };
    store_vertex(buffer, number, Vertex { _position: position });
}

/// Writes to a null pointer if the mesh announced nothing: vertex 1 would be at address 12.
#[inline(never)]
fn store_vertex(buffer: &mut VertexBuffer, number: usize, vertex: Vertex) {
    let place = buffer.first.wrapping_add(number);
    #[expect(unsafe_code, reason = "this is the crash")]
    // SAFETY: a mesh as it should be announced `number` vertices or more. For the damaged one the operating system ends
    // the process, which is the purpose.
    unsafe {
        *place = vertex;
    }
}

/// What compilers make of code that cannot be reached.
#[inline(never)]
fn unknown_kind() -> ! {
    #[expect(unsafe_code, reason = "this is the crash")]
    // SAFETY: an instruction that no processor knows ends the process; nothing runs after it.
    unsafe {
        #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
        std::arch::asm!("ud2", options(noreturn));
        #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
        std::arch::asm!("udf #0", options(noreturn));
    }
}
