use serde::Serialize;

/// The configuration that is in effect as TOML, defaults included and secrets redacted.
///
/// What cannot be written as TOML is a mistake in a section's type; it is said in a comment in its place.
pub fn show<T: Serialize>(config: &T) -> String {
    toml::to_string_pretty(config)
        .unwrap_or_else(|error| format!("# this configuration cannot be shown: {error}\n"))
}
