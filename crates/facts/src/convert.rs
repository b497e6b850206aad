//! A processed crash becomes a fact.

use std::collections::BTreeSet;

use crash::{AnnotationValue, Annotations, ProcessedCrash, ProcessedDump, Times};
use jiff::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    CrashFact, Device, DumpFact, Gpu, Lacks, ModuleFact,
    clean::{self, Complaints, is_plausible},
    version::build_day,
};

/// The name of what is not known.
pub(crate) const UNKNOWN: &str = "unknown";
/// The family of an unknown operating system: families are proper names.
const UNKNOWN_OS: &str = "Unknown";

/// A process that dies younger than this died while it started.
const STARTUP_SECONDS: i32 = 60;
/// What the column takes.
const SIGNATURE_BYTES: usize = 1024;
/// A browser has some 300 and a large game 500.
const MOST_MODULES: usize = 1024;
const MOST_DUMPS: usize = 100;
const MOST_NOTES: usize = 100;
const MOST_ATTRS: usize = 500;
const ATTR_BYTES: usize = 4096;
const ALL_ATTRS_BYTES: usize = 64 * 1024;

impl CrashFact {
    /// Takes from a processed crash what the facts hold of it.
    ///
    /// Whatever a client sent, this succeeds: what a column cannot hold is cut, replaced or left out, and a note says so.
    #[must_use]
    pub fn of(crash: &ProcessedCrash) -> Self {
        let mut complaints = Complaints::default();
        let ours = |time: Timestamp| if is_plausible(time) { time } else { crash.crash_id.received_at() };

        let uptime_s = complaints.fit("uptime", crash.times.uptime_s);
        let build = clean::name_or(&crash.build, 128, UNKNOWN);
        let annotation = |name| crash.annotations.get(name).map(str::trim).filter(|text| !text.is_empty());
        let os_family = clean::name_or(&crash.os.family, 64, UNKNOWN_OS);
        let os_version = clean::name(crash.os.version.trim(), 128);
        let memory = &crash.memory;

        let mut fact = Self {
            crash_id: crash.crash_id,
            received_at: ours(crash.submitted_at),
            client_crash_at: complaints.time("crash time", crash.times.crashed_at),
            started_at: ours(crash.started_at),
            completed_at: ours(crash.completed_at),
            attempt: i16::try_from(crash.attempt).unwrap_or(i16::MAX),
            product: clean::name_or(&crash.product, 128, UNKNOWN),
            channel: clean::name_or(&crash.channel, 64, UNKNOWN),
            version: clean::name_or(&crash.version, 128, UNKNOWN),
            build_day: build_day(&build),
            build,
            signature: signature(&crash.signature),
            process_type: clean::name_or(&crash.process_type, 64, UNKNOWN),
            event: crash.event,
            os_label: clean::name_or(&crash.os.label, 200, format!("{os_family} {os_version}").trim()),
            os_family,
            os_version,
            cpu_arch: clean::name_or(&crash.cpu.arch, 64, UNKNOWN),
            cpu_model: clean::name(crash.cpu.model.trim(), 200),
            cores: complaints.fit("number of processors", crash.cpu.cores),
            device: device(&crash.annotations),
            gpu: gpu(&crash.annotations),
            reason: clean::name_or(crash.reason.as_deref().unwrap_or_default(), 512, UNKNOWN),
            address: crash.address,
            uptime_s,
            install_age_s: complaints.fit("install age", crash.times.install_age_s),
            last_crash_s: complaints.fit("time since the last crash", crash.times.last_crash_s),
            install_hash: install_hash(&crash.product, &crash.times),
            exploitability: None,
            is_startup: uptime_s.is_some_and(|seconds| seconds < STARTUP_SECONDS),
            is_gc: annotation("IsGarbageCollecting").map(|text| text == "1"),
            mem_avail_virtual: complaints.fit("available virtual memory", memory.available_virtual_bytes),
            mem_avail_physical: complaints.fit("available physical memory", memory.available_physical_bytes),
            mem_total_physical: complaints.fit("total physical memory", memory.total_physical_bytes),
            oom_alloc: complaints.fit("size of the failed allocation", memory.failed_allocation_bytes),
            sample_rate: complaints.share("sample rate", crash.sample_rate),
            success: crash.success,
            duplicate_of: None,
            hang_id: annotation("HangID").map(|text| clean::name(text, 128)),
            proto_signature: Some(clean::beginning(&crash.proto_signature, 8192))
                .filter(|text| !text.is_empty()),
            ruleset: ruleset(&crash.ruleset),
            notes: vec![],
            attrs: Map::new(),
            dumps: vec![],
            // A fact that is saved anew, as by a check of the store, has to keep the marks of what the crash still lacks.
            lacks: Lacks::of(crash),
        };
        fact.attrs = attrs(crash, &mut complaints);
        fact.dumps = dumps(&crash.dumps, &mut complaints);
        let notes = crash.notes.iter().map(|note| format!("{}: {}", note.source, note.text));
        // Ours first, since they say what this row lacks.
        fact.notes = complaints
            .0
            .into_iter()
            .chain(notes)
            .take(MOST_NOTES)
            .map(|note| clean::beginning(&note, 1000))
            .collect();
        fact
    }
}

fn signature(signature: &str) -> String {
    let cut = clean::beginning(signature.trim(), SIGNATURE_BYTES);
    if cut.is_empty() { UNKNOWN.to_owned() } else { cut }
}

/// The bytes of a hash in hexadecimal, or of whatever else names the rules.
fn ruleset(name: &str) -> Vec<u8> {
    match from_hex(name) {
        Some(bytes) if bytes.len() <= 64 => bytes,
        _ => clean::name(name, 64).into_bytes(),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// When it was installed is about the same for all crashes of one installation, and for few others.
fn install_hash(product: &str, times: &Times) -> Option<Vec<u8>> {
    let installed = times.crashed_at?.as_second().checked_sub(i64::try_from(times.install_age_s?).ok()?)?;
    let hash = Sha256::digest(format!("{product}\n{installed}"));
    Some(hash.iter().take(16).copied().collect())
}

fn device(annotations: &Annotations) -> Option<Device> {
    let part = |name: &str| clean::name(annotations.get(name).unwrap_or_default().trim(), 128);
    let device = Device {
        manufacturer: part("Android_Manufacturer"),
        model: part("Android_Model"),
        os_release: part("Android_Version"),
        abi: part("Android_CPU_ABI"),
    };
    let is_known = [&device.manufacturer, &device.model, &device.os_release, &device.abi]
        .iter()
        .any(|part| !part.is_empty());
    is_known.then_some(device)
}

fn gpu(annotations: &Annotations) -> Option<Gpu> {
    let part = |name: &str| clean::name(annotations.get(name).unwrap_or_default().trim(), 128);
    let gpu = Gpu { vendor: part("AdapterVendorID"), device: part("AdapterDeviceID") };
    (!gpu.vendor.is_empty() || !gpu.device.is_empty()).then_some(gpu)
}

/// The annotations without a column of their own, within what a row can carry.
fn attrs(crash: &ProcessedCrash, complaints: &mut Complaints) -> Map<String, Value> {
    let mut attrs = Map::new();
    let mut left = ALL_ATTRS_BYTES;
    for (name, value) in crash.annotations.iter().filter(|(name, value)| !has_column(crash, name, value)) {
        let name = clean::name(name, 128);
        let text = String::from_utf8_lossy(value.as_bytes());
        let text = clean::beginning(&text, ATTR_BYTES);
        let size = name.len() + text.len();
        if attrs.len() == MOST_ATTRS || size > left {
            complaints.add("some annotations are left out of attrs, there are too many");
            break;
        }
        left -= size;
        attrs.insert(name, Value::String(text));
    }
    attrs
}

/// Whether an annotation says nothing that a column does not say.
///
/// Clients have many names for product, version and the like, and rules may have changed what they sent: so those are left out
/// only where the column holds the same.
fn has_column(crash: &ProcessedCrash, name: &str, value: &AnnotationValue) -> bool {
    let is = |column: &str| value.as_text() == Some(column);
    match name {
        "ProductName" | "prod" | "product" | "_productName" => is(&crash.product),
        "Version" | "ver" | "version" | "_version" => is(&crash.version),
        "ReleaseChannel" | "channel" => is(&crash.channel),
        "BuildID" => is(&crash.build),
        "ProcessType" | "ptype" | "process_type" => is(&crash.process_type),
        "CrashTime" => crash.times.crashed_at.is_some(),
        "SecondsSinceLastCrash" => crash.times.last_crash_s.is_some(),
        "AvailableVirtualMemory" => crash.memory.available_virtual_bytes.is_some(),
        "AvailablePhysicalMemory" => crash.memory.available_physical_bytes.is_some(),
        "TotalPhysicalMemory" => crash.memory.total_physical_bytes.is_some(),
        "OOMAllocationSize" => crash.memory.failed_allocation_bytes.is_some(),
        "HangID"
        | "IsGarbageCollecting"
        | "AdapterVendorID"
        | "AdapterDeviceID"
        | "Android_Manufacturer"
        | "Android_Model"
        | "Android_Version"
        | "Android_CPU_ABI" => value.as_text().is_some(),
        _ => false,
    }
}

fn dumps(dumps: &[ProcessedDump], complaints: &mut Complaints) -> Vec<DumpFact> {
    if dumps.len() > MOST_DUMPS {
        complaints.add("some dumps are left out, there are too many");
    }
    let mut taken = BTreeSet::new();
    dumps
        .iter()
        .take(MOST_DUMPS)
        .enumerate()
        .map(|(position, dump)| {
            let mut name = clean::name_or(&dump.name, 128, UNKNOWN);
            while !taken.insert(name.clone()) {
                name = clean::name(&format!("{position}#{name}"), 128);
            }
            dump_fact(name, dump, complaints)
        })
        .collect()
}

fn dump_fact(name: String, dump: &ProcessedDump, complaints: &mut Complaints) -> DumpFact {
    let walk = &dump.stackwalk;
    if walk.modules.len() > MOST_MODULES {
        complaints.add("some modules are left out, there are too many");
    }
    let modules: BTreeSet<ModuleFact> = walk
        .modules
        .iter()
        .take(MOST_MODULES)
        .map(|module| ModuleFact {
            filename: clean::name_or(&module.filename, 255, UNKNOWN),
            version: clean::name(module.version.as_deref().unwrap_or_default(), 128),
            debug_id: clean::name(&module.debug_id, 64),
            code_id: clean::name(&module.code_id, 128),
        })
        .collect();
    DumpFact {
        name,
        bytes: i64::try_from(dump.bytes).ok(),
        sha256: from_hex(&dump.sha256).filter(|bytes| bytes.len() == 32),
        walk_status: walk.status,
        reason: walk
            .crash_info
            .as_ref()
            .and_then(|info| info.reason.as_deref())
            .map(|reason| clean::name_or(reason, 512, UNKNOWN)),
        crashing_thread: complaints.fit("crashing thread", walk.crashing_thread),
        exploitability: None,
        modules: modules.into_iter().collect(),
    }
}
