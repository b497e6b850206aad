//! Crash reports as a client would send them: a small minidump, and the multipart body around it.

use minidump_synth::{
    DumpString, Exception, Memory, Module, STOCK_VERSION_INFO, SynthMinidump, SystemInfo, Thread,
    amd64_context,
};
use test_assembler::{Endian, Section};

/// What the crashing thread has in common in every dump of this module.
pub mod known {
    /// The module that crashed; its debug id is [`DEBUG_ID`].
    pub const MODULE: &str = "game";
    /// The module that called nothing: a library beside it.
    pub const LIBRARY: &str = "libengine.so";
    /// The debug id of [`MODULE`], as Breakpad writes it.
    pub const DEBUG_ID: &str = "33221100554477668899AABBCCDDEEFF0";
    /// Where [`MODULE`] is loaded.
    pub const BASE: u64 = 0x40_0000;
    /// The crashing instruction, within [`MODULE`].
    pub const INSTRUCTION: u64 = BASE + 0x1010;
    /// Where the crashing function returns to, within [`MODULE`].
    pub const RETURN_ADDRESS: u64 = BASE + 0x2020;
    /// The address that could not be read.
    pub const ADDRESS: u64 = 0x1000;
    /// The only thread, the one that crashed.
    pub const THREAD_ID: u32 = 0x1234;
}

const LITTLE: Endian = Endian::Little;
/// Large enough for a real program's functions, small enough to lie wholly below the stack.
const MODULE_BYTES: u32 = 0x1000_0000;
const STACK_BASE: u64 = 0x7ffe_0000_0000;
const PROCESSOR_AMD64: u16 = 9;
const PLATFORM_LINUX: u32 = 0x8201;
const SIGSEGV: u32 = 11;
/// In the byte order of the file, which is not that of the debug id.
const GAME_BUILD: u128 = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;
const LIBRARY_BUILD: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
/// "BpEL": the record that follows holds an ELF build id.
const BUILD_ID_RECORD: u32 = 0x4270_454c;
/// `SEGV_MAPERR`: nothing is mapped at the address.
const NOT_MAPPED: u32 = 1;

/// A small valid minidump: Linux on x86-64, a segmentation fault in the one thread, a stack, and two modules.
///
/// The same bytes at every call; [`known`] says what is in them.
pub fn minidump() -> Vec<u8> {
    minidump_of(known::MODULE, GAME_BUILD, known::INSTRUCTION - known::BASE)
}

/// Like [`minidump`], of a crash in a module with that file name and ELF build id (its first 16 bytes), so far from where
/// the module is loaded.
pub fn minidump_of(module: &str, build: u128, offset: u64) -> Vec<u8> {
    let context = amd64_context(LITTLE, known::BASE + offset, STACK_BASE);
    // The return address lies where a scan of the stack finds it; the rest points nowhere.
    let stack = Memory::with_section(
        Section::with_endian(LITTLE).D64(0).D64(known::RETURN_ADDRESS).append_repeated(0, 1008),
        STACK_BASE,
    );
    let thread = Thread::new(LITTLE, known::THREAD_ID, &stack, &context);

    let mut exception = Exception::new(LITTLE);
    exception.thread_id = known::THREAD_ID;
    exception.exception_record.exception_code = SIGSEGV;
    exception.exception_record.exception_flags = NOT_MAPPED;
    exception.exception_record.exception_address = known::ADDRESS;

    let name = DumpString::new(&format!("/opt/game/{module}"), LITTLE);
    let build = build_id(build);
    let library_name = DumpString::new(&format!("/opt/game/{}", known::LIBRARY), LITTLE);
    let library_build = build_id(LIBRARY_BUILD);

    SynthMinidump::with_endian(LITTLE)
        .add_system_info(
            SystemInfo::new(LITTLE)
                .set_processor_architecture(PROCESSOR_AMD64)
                .set_platform_id(PLATFORM_LINUX),
        )
        .add_thread(thread)
        .add_exception(exception)
        .add_module(
            Module::new(LITTLE, known::BASE, MODULE_BYTES, &name, 0, 0, Some(&STOCK_VERSION_INFO))
                .cv_record(&build),
        )
        .add_module(
            Module::new(LITTLE, 0x7f00_0000_0000, 0x1_0000, &library_name, 0, 0, Some(&STOCK_VERSION_INFO))
                .cv_record(&library_build),
        )
        .add(context)
        .add(name)
        .add(build)
        .add(library_name)
        .add(library_build)
        .add_memory(stack)
        .finish()
        .expect("every part that is cited was added")
}

/// A multipart body with text fields and files, as a client would send them, and its content type.
///
/// The parts stand in the given order, fields first; names are written as they are, so that a test may send odd ones.
pub fn multipart(fields: &[(&str, &str)], dumps: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    let boundary = format!("----crashmill-{:016x}", rand::random::<u64>());
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .bytes(),
        );
    }
    for (name, content) in dumps {
        body.extend(
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}.dmp\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            )
            .bytes(),
        );
        body.extend_from_slice(content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

fn build_id(id: u128) -> Section {
    Section::with_endian(LITTLE).D32(BUILD_ID_RECORD).append_bytes(&id.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use minidump::{Minidump, MinidumpException, MinidumpModuleList, MinidumpThreadList, Module as _};

    use super::*;

    #[test]
    fn the_minidump_is_one_that_a_reader_takes_and_holds_what_is_known_about_it() {
        let dump = Minidump::read(minidump()).expect("a valid minidump");

        let modules: MinidumpModuleList = dump.get_stream().expect("modules");
        assert_eq!(modules.iter().count(), 2);
        let module = modules.module_at_address(known::INSTRUCTION).expect("the crashing module");
        assert_eq!(module.code_file(), "/opt/game/game");
        let debug_id = module.debug_identifier().expect("a debug id");
        assert_eq!(debug_id.breakpad().to_string(), known::DEBUG_ID);

        let exception: MinidumpException = dump.get_stream().expect("an exception");
        assert_eq!(exception.get_crashing_thread_id(), known::THREAD_ID);
        let threads: MinidumpThreadList = dump.get_stream().expect("threads");
        assert_eq!(threads.threads.len(), 1);
    }

    #[tokio::test]
    async fn the_multipart_body_is_one_that_a_server_reads() {
        let (content_type, body) =
            multipart(&[("ProductName", "Game")], &[("upload_file_minidump", b"MDMP\0\xff")]);
        let boundary = multer::parse_boundary(content_type).expect("a boundary");
        let body: Result<_, std::io::Error> = Ok(bytes::Bytes::from(body));
        let mut parts = multer::Multipart::new(futures_util::stream::iter([body]), boundary);

        let field = parts.next_field().await.expect("well formed").expect("the annotation");
        assert_eq!((field.name(), field.file_name()), (Some("ProductName"), None));
        assert_eq!(field.text().await.expect("text"), "Game");
        let field = parts.next_field().await.expect("well formed").expect("the dump");
        assert_eq!(field.name(), Some("upload_file_minidump"));
        assert_eq!(field.bytes().await.expect("bytes").as_ref(), b"MDMP\0\xff");
        assert!(parts.next_field().await.expect("well formed").is_none());
    }
}
