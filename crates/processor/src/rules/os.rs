//! Which operating system the process ran on.

use crash::{Os, ProcessedCrash, RawCrash};

use super::{Outcome, Rule, RuleError};

/// What minidump tools call an operating system, and what people call it.
const FAMILIES: &[(&str, &str)] = &[("Windows NT", "Windows"), ("Mac OS X", "macOS")];

/// The first build of Windows 11, which says that it is Windows 10.
const WINDOWS_11_BUILD: u32 = 22_000;

/// Takes the operating system from the main dump.
pub(crate) struct OperatingSystem;

impl Rule for OperatingSystem {
    fn name(&self) -> &'static str {
        "os"
    }

    fn apply(&self, _: &RawCrash, processed: &mut ProcessedCrash) -> Result<Outcome, RuleError> {
        let Some(system) = processed.main_dump().map(|dump| dump.stackwalk.system_info.clone()) else {
            return Ok(Outcome::Skipped);
        };
        let Some(name) = system.os else { return Ok(Outcome::Skipped) };
        let family =
            FAMILIES.iter().find(|(tool, _)| *tool == name).map_or(name.as_str(), |(_, people)| people);
        let version = system.os_ver.unwrap_or_default();
        let label = label(family, &version);
        processed.os = Os { family: family.to_owned(), version, label };
        Ok(Outcome::Applied)
    }
}

/// Family and version in the words that people use.
fn label(family: &str, version: &str) -> String {
    let numbers: Vec<u32> = version.split(['.', ' ']).map_while(|part| part.parse().ok()).collect();
    match (family, numbers.as_slice()) {
        ("Windows", [10, 0, build, ..]) if *build >= WINDOWS_11_BUILD => "Windows 11".to_owned(),
        ("Windows", [10, ..]) => "Windows 10".to_owned(),
        ("Windows", [6, 3, ..]) => "Windows 8.1".to_owned(),
        ("Windows", [6, 2, ..]) => "Windows 8".to_owned(),
        ("Windows", [6, 1, ..]) => "Windows 7".to_owned(),
        ("Windows", [6, 0, ..]) => "Windows Vista".to_owned(),
        ("Windows", [5, 1 | 2, ..]) => "Windows XP".to_owned(),
        ("macOS", [10, minor, ..]) => format!("macOS 10.{minor}"),
        (_, [major, ..]) if family != "Linux" => format!("{family} {major}"),
        _ => family.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn an_operating_system_is_labelled_as_people_call_it() {
        for (family, version, expected) in [
            ("Windows", "10.0.19045", "Windows 10"),
            ("Windows", "10.0.22631 3007", "Windows 11"),
            ("Windows", "6.1.7601 Service Pack 1", "Windows 7"),
            ("Windows", "5.1.2600 Service Pack 3", "Windows XP"),
            ("macOS", "10.15.7 19H2", "macOS 10.15"),
            ("macOS", "14.2.1 23C71", "macOS 14"),
            ("Linux", "6.1.0-18-amd64 #1 SMP", "Linux"),
            ("Linux", "", "Linux"),
            ("Android", "14", "Android 14"),
            ("Windows", "", "Windows"),
        ] {
            assert_eq!(label(family, version), expected, "{family} {version}");
        }
    }
}
