//! Dumps made to measure: Linux on amd64, one module, stacks as given.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use std::{fs, path::Path};

use minidump_synth::{
    CrashpadInfo, DumpString, Exception, Memory, MiscStream, Module, STOCK_VERSION_INFO, SynthMinidump,
    SystemInfo, Thread, ThreadName, UnloadedModule, amd64_context,
};
use test_assembler::{Endian, Section};

const LE: Endian = Endian::Little;
const AMD64: u16 = 9;
const LINUX: u32 = 0x8201;
/// Where the frame pointer is in the registers of amd64.
const RBP_OFFSET: usize = 0xa0;

pub const MODULE: u64 = 0x40_0000;
pub const MODULE_BYTES: u32 = 0x10_0000;
pub const DEBUG_FILE: &str = "app";
pub const DEBUG_ID: &str = "0403020106050807090A0B0C0D0E0F100";
/// SIGSEGV / SEGV_MAPERR
const SEGV: (u32, u32) = (11, 1);

/// Stack memory; threads may share it.
pub struct Stack {
    pub address: u64,
    pub words: Vec<u64>,
}

/// A thread that stands at `ip`.
#[derive(Clone)]
pub struct ThreadAt {
    pub id: u32,
    pub ip: u64,
    pub sp: u64,
    pub bp: u64,
    pub stack: usize,
}

pub struct Dump {
    pub stacks: Vec<Stack>,
    pub threads: Vec<ThreadAt>,
    pub crashing: Option<u32>,
    pub module_path: String,
    pub thread_names: Vec<(u32, String)>,
    pub unloaded: Vec<(u64, u32, String)>,
    pub crashpad: Option<CrashpadInfo>,
}

impl Dump {
    /// A dump of one thread that crashed at the first address and was called from the others.
    pub fn called_from(addresses: &[u64]) -> Self {
        let (ip, callers) = addresses.split_first().unwrap();
        // A stack never ends with its last return address.
        let words = callers.iter().copied().chain([0, 0]).collect();
        Self {
            stacks: vec![Stack { address: 0x7000_0000, words }],
            threads: vec![ThreadAt { id: 1, ip: *ip, sp: 0x7000_0000, bp: 0, stack: 0 }],
            crashing: Some(1),
            module_path: "/opt/app/app".to_owned(),
            thread_names: vec![],
            unloaded: vec![],
            crashpad: None,
        }
    }

    /// Threads that all see the same stack, in which every word is a return address.
    pub fn sharing_a_stack(threads: u32, words: usize) -> Self {
        let thread = |id| ThreadAt { id, ip: MODULE + 0x100, sp: 0x7000_0000, bp: 0, stack: 0 };
        Self {
            stacks: vec![Stack { address: 0x7000_0000, words: vec![MODULE + 0x2000; words] }],
            threads: (1..=threads).map(thread).collect(),
            ..Self::called_from(&[MODULE])
        }
    }

    /// A thread whose frame pointers lead through ever more frames in memory of no module.
    pub fn chained_outside_modules(frames: u64) -> Self {
        let address = 0x7000_0000;
        let ip = 0x9000_0000;
        let words = (1..=frames).flat_map(|link| [address + link * 16, ip]).collect();
        Self {
            stacks: vec![Stack { address, words }],
            threads: vec![ThreadAt { id: 1, ip, sp: address, bp: address, stack: 0 }],
            ..Self::called_from(&[MODULE])
        }
    }

    pub fn bytes(self) -> Vec<u8> {
        let section = || Section::with_endian(LE);
        let module_name = DumpString::new(&self.module_path, LE);
        let build_id: Vec<u8> = (1..=20).collect();
        let codeview = section().D32(0x4270_454c).append_bytes(&build_id);
        let module = Module::new(LE, MODULE, MODULE_BYTES, &module_name, 0, 0, Some(&STOCK_VERSION_INFO))
            .cv_record(&codeview);

        let memories: Vec<_> = self
            .stacks
            .iter()
            .map(|stack| {
                let bytes: Vec<u8> = stack.words.iter().flat_map(|word| word.to_le_bytes()).collect();
                Memory::with_section(section().append_bytes(&bytes), stack.address)
            })
            .collect();
        let mut misc = MiscStream::new(LE);
        misc.process_id = Some(4321);
        let mut system = SystemInfo::new(LE).set_processor_architecture(AMD64).set_platform_id(LINUX);
        system.number_of_processors = 4;

        let mut synth = SynthMinidump::with_endian(LE).add_system_info(system).add_stream(misc);
        for thread in &self.threads {
            let context = context(thread.ip, thread.sp, thread.bp);
            let memory = &memories[thread.stack];
            synth = synth.add_thread(Thread::new(LE, thread.id, memory, &context)).add(context);
        }
        for (id, name) in &self.thread_names {
            let name = DumpString::new(name, LE);
            synth = synth.add_thread_name(ThreadName::new(LE, *id, Some(&name))).add(name);
        }
        for (base, size, name) in &self.unloaded {
            let name = DumpString::new(name, LE);
            synth = synth.add_unloaded_module(UnloadedModule::new(LE, *base, *size, &name, 0, 0)).add(name);
        }
        if let Some(id) = self.crashing {
            let mut exception = Exception::new(LE);
            exception.thread_id = id;
            exception.exception_record.exception_code = SEGV.0;
            exception.exception_record.exception_flags = SEGV.1;
            exception.exception_record.exception_address = 0x45;
            synth = synth.add_exception(exception);
        }
        if let Some(info) = self.crashpad {
            synth = synth.add_crashpad_info(info);
        }
        for memory in memories {
            synth = synth.add_memory(memory);
        }
        synth.add_module(module).add(module_name).add(codeview).finish().unwrap()
    }
}

fn context(ip: u64, sp: u64, bp: u64) -> Section {
    let context = amd64_context(LE, ip, sp);
    context.start().set_const(0);
    let mut bytes = context.get_contents().unwrap();
    bytes[RBP_OFFSET..RBP_OFFSET + 8].copy_from_slice(&bp.to_le_bytes());
    Section::with_endian(LE).append_bytes(&bytes)
}

/// Symbols of the module: an innermost function without a stack frame of its own, and a caller.
pub fn symbols() -> String {
    format!(
        "MODULE Linux x86_64 {DEBUG_ID} {DEBUG_FILE}\n\
         FILE 0 /src/app/main.c\n\
         FILE 1 /src/app/inner.h\n\
         INLINE_ORIGIN 0 inner(int)\n\
         FUNC 1000 100 0 crash(int*)\n\
         INLINE 0 20 0 0 1000 10\n\
         1000 10 7 1\n\
         1010 f0 21 0\n\
         FUNC 2000 100 0 main\n\
         2000 100 30 0\n\
         PUBLIC 3000 0 _ZN3app3runEv\n\
         STACK CFI INIT 1000 3000 .cfa: $rsp 8 + .ra: .cfa -8 + ^\n"
    )
}

/// Puts the text where the module's symbols are looked for below a folder.
pub fn write_symbols(folder: &Path, text: &str) {
    let folder = folder.join(DEBUG_FILE).join(DEBUG_ID);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{DEBUG_FILE}.sym")), text).unwrap();
}
