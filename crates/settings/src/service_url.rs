use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use crate::secret::{REDACTED, Secret};

/// By this name the reader knows that a URL is wanted, and looks at where the value came from.
pub(crate) const SERVICE_URL: &str = "$settings::ServiceUrl";

/// Query parameters with these in their names hold secrets (`password`, `sslpassword`, `access_token` ...).
const SECRET_PARAMETERS: [&str; 4] = ["passw", "secret", "token", "credential"];

/// The address of a server, with what it takes to log in: `postgresql://crashmill:secret@db/crashmill`.
///
/// With a password in it, it comes from the environment (`CRASHMILL__FACTS__URL`) or from a file of its own
/// (`url_file = "/run/secrets/url"`); in the configuration file it stands without. Wherever it is shown, the
/// password is redacted. The empty URL stands for "none given".
///
/// It is kept as it was written, several hosts and socket folders included, since each client library has
/// its own reading of those.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ServiceUrl(String);

/// A text that is no [`ServiceUrl`]. It never repeats the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServiceUrl {
    /// There is no `scheme://` at its beginning.
    #[error("expected a URL such as \"postgresql://user@host/name\", with its scheme")]
    NoScheme,
    /// Blanks and control characters have no place in it.
    #[error("the URL contains a blank or a control character; write it percent-encoded")]
    Blank,
    /// An `@` stands where it might be the end of a password that holds a `/`, `?` or `#`.
    #[error(
        "the URL has an @ that does not end its user and password; write /, ?, # and @ in these as %2F, %3F, %23 and %40"
    )]
    StrayAt,
}

impl ServiceUrl {
    /// The whole URL with its password, for the call that connects.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True when none was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when it holds a password, or a query parameter whose name says that it is one.
    pub fn has_password(&self) -> bool {
        self.redacted() != self.0
    }

    /// The same with this password, unless it has one already or `password` is empty.
    ///
    /// For a section whose URL stands in the configuration file and whose password comes by itself.
    #[must_use]
    pub fn with_password(&self, password: &Secret) -> Self {
        let Some(parts) = Parts::of(&self.0) else { return self.clone() };
        if parts.password.is_some() || password.is_empty() {
            return self.clone();
        }
        let mut text = format!("{}://{}:", parts.scheme, parts.user);
        for byte in password.expose().bytes() {
            text += &match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    char::from(byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            };
        }
        let Parts { hosts, path, query, .. } = parts;
        Self(format!("{text}@{hosts}{path}{query}"))
    }

    fn redacted(&self) -> String {
        let Some(Parts { scheme, user, password, hosts, path, query, .. }) = Parts::of(&self.0) else {
            return String::new();
        };
        let login = match password {
            Some("") => format!("{user}:@"),
            Some(_) => format!("{user}:{REDACTED}@"),
            None if user.is_empty() => String::new(),
            None => format!("{user}@"),
        };
        format!("{scheme}://{login}{hosts}{path}{}", redact_parameters(query))
    }
}

/// A URL taken apart; what follows the hosts keeps its delimiters.
struct Parts<'a> {
    scheme: &'a str,
    user: &'a str,
    password: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (path, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        Some(Self { scheme, user, password, hosts, path, query })
    }
}

/// The query with the values of secret parameters redacted.
fn redact_parameters(query: &str) -> String {
    let redact = |parameter: &str| match parameter.split_once('=') {
        Some((name, value)) if !value.is_empty() && is_secret_parameter(name) => format!("{name}={REDACTED}"),
        _ => parameter.to_owned(),
    };
    query.split('&').map(redact).collect::<Vec<_>>().join("&")
}

fn is_secret_parameter(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_PARAMETERS.iter().any(|secret| name.contains(secret))
}

impl FromStr for ServiceUrl {
    type Err = InvalidServiceUrl;

    fn from_str(text: &str) -> Result<Self, InvalidServiceUrl> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let parts = Parts::of(text).ok_or(InvalidServiceUrl::NoScheme)?;
        let is_scheme = parts.scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && parts.scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !is_scheme {
            return Err(InvalidServiceUrl::NoScheme);
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(InvalidServiceUrl::Blank);
        }
        if [parts.user, parts.password.unwrap_or_default(), parts.path, parts.query].concat().contains('@') {
            return Err(InvalidServiceUrl::StrayAt);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.redacted(), f)
    }
}

impl Serialize for ServiceUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ServiceUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Url;

        impl<'de> Visitor<'de> for Url {
            type Value = ServiceUrl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL")
            }

            /// Only the reader of this crate hands over a bare string, after it has looked at its origin.
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ServiceUrl, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<ServiceUrl, D::Error> {
                let url: ServiceUrl =
                    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)?;
                if url.has_password() {
                    return Err(de::Error::custom("a URL with a password is only read by settings::load"));
                }
                Ok(url)
            }
        }
        deserializer.deserialize_newtype_struct(SERVICE_URL, Url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn url(text: &str) -> ServiceUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_password_is_redacted_wherever_a_url_is_shown() {
        for (text, shown) in [
            ("amqp://guest:s3cret@mq:5672/%2F", "amqp://guest:<redacted>@mq:5672/%2F"),
            ("postgresql://u:p:q@h1:1,h2:2/db?x=1", "postgresql://u:<redacted>@h1:1,h2:2/db?x=1"),
            ("postgresql:///db?host=/run/pg&password=p", "postgresql:///db?host=/run/pg&password=<redacted>"),
            ("https://h/?access_token=abc#x", "https://h/?access_token=<redacted>"),
        ] {
            assert_eq!(url(text).to_string(), shown);
            assert_eq!(format!("{:?}", url(text)), format!("{shown:?}"));
            assert!(url(text).has_password(), "{text}");
            assert_eq!(url(text).expose(), text);
        }
    }

    #[test]
    fn a_url_without_a_password_is_shown_as_it_is() {
        for text in
            ["postgresql://u@h/db", "postgresql:///db", "https://symbols.example/a?b=c#d", "amqp://u:@h", ""]
        {
            assert_eq!(url(text).to_string(), text);
            assert!(!url(text).has_password(), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_or_hides_where_its_password_ends_is_refused() {
        for (text, reason) in [
            ("localhost:5432", InvalidServiceUrl::NoScheme),
            ("host=db password=p", InvalidServiceUrl::NoScheme),
            ("a b://h", InvalidServiceUrl::NoScheme),
            ("amqp://h/a b", InvalidServiceUrl::Blank),
            ("amqp://u:pa/ss@h/", InvalidServiceUrl::StrayAt),
            ("amqp://u:p@ss@h/", InvalidServiceUrl::StrayAt),
            ("amqp://u:p#ss@h/", InvalidServiceUrl::StrayAt),
        ] {
            assert_eq!(text.parse::<ServiceUrl>(), Err(reason), "{text}");
        }
    }

    #[test]
    fn a_password_that_comes_by_itself_is_put_in_encoded() {
        let password = Secret::new("p@ss/wörd");
        let merged = url("postgresql://u@h:5432/db?x=1").with_password(&password);
        assert_eq!(merged.expose(), "postgresql://u:p%40ss%2Fw%C3%B6rd@h:5432/db?x=1");
        assert_eq!(url("amqp://h").with_password(&password).expose(), "amqp://:p%40ss%2Fw%C3%B6rd@h");
        assert_eq!(url("amqp://u:own@h").with_password(&password).expose(), "amqp://u:own@h");
        assert_eq!(url("amqp://u@h").with_password(&Secret::default()).expose(), "amqp://u@h");
    }

    proptest! {
        #[test]
        fn no_password_is_ever_shown(user in "[a-z]{0,4}", password in "[A-Z0-9:!$%&=+,;.]{3,12}", tail in "(/[a-z]{0,3})?(\\?[a-z=&]{0,6})?") {
            let url = url(&format!("scheme://{user}:{password}@host{tail}"));
            prop_assert!(!url.to_string().contains(&password));
            prop_assert!(url.has_password());
        }

        #[test]
        fn any_text_is_refused_or_kept_as_it_is(text in "([a-z]{1,3}://)?.{0,30}") {
            if let Ok(url) = text.parse::<ServiceUrl>() {
                prop_assert_eq!(url.has_password(), url.to_string() != text);
                prop_assert_eq!(url.expose(), text);
            }
        }
    }
}
