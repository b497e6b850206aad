//! What Crashpad's client wrote into the dump.

use crash::Annotations;
use minidump::{Minidump, MinidumpAnnotation, MinidumpCrashpadInfo, MinidumpModuleCrashpadInfo};

/// A client has tens of them, with values of kilobytes.
const MOST: usize = 1000;
const MOST_BYTES: usize = 4 << 20;
/// Crashpad's own name for the annotations of modules that have no name.
const LIST: &str = "list_annotations";

/// The annotations of the process, then those of each module; the first of a name counts, as in Crashpad's own uploads.
pub(crate) fn annotations(dump: &Minidump<'_, &[u8]>) -> Annotations {
    let mut taken = Taken { annotations: Annotations::default(), bytes_left: MOST_BYTES };
    let Ok(info) = dump.get_stream::<MinidumpCrashpadInfo>() else { return taken.annotations };
    for (name, value) in &info.simple_annotations {
        taken.take(name, value);
    }
    for module in &info.module_list {
        for (name, value) in &module.simple_annotations {
            taken.take(name, value);
        }
        for (name, value) in &module.annotation_objects {
            if let MinidumpAnnotation::String(value) = value {
                taken.take(name, value);
            }
        }
    }
    let list =
        info.module_list.iter().flat_map(|module: &MinidumpModuleCrashpadInfo| &module.list_annotations);
    let list = list.map(String::as_str).collect::<Vec<_>>().join("\n");
    if !list.is_empty() {
        taken.take(LIST, &list);
    }
    taken.annotations
}

struct Taken {
    annotations: Annotations,
    bytes_left: usize,
}

impl Taken {
    fn take(&mut self, name: &str, value: &str) {
        let left = self.bytes_left.checked_sub(name.len() + value.len());
        if let Some(left) = left
            && self.annotations.len() < MOST
            && self.annotations.value(name).is_none()
        {
            self.bytes_left = left;
            self.annotations.insert(name, value);
        }
    }
}
