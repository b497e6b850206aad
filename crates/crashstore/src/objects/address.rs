//! Where the object store is, and how it is spoken to.

use std::{sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder,
    azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder,
};
use url::Url;

use crate::{Config, Error};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The first pause before another try, and the longest; each is drawn at random between the one before and its double.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// No try begins later than this after the first.
const LAST_TRY: Duration = Duration::from_secs(45);

/// What `crashstore.url` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    platform: Platform,
    bucket: String,
    /// What stands before every path; may be empty.
    pub(crate) prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Platform {
    S3,
    Google,
    Azure,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Address { what: what.to_owned() };
        let parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        let platform = match parsed.scheme() {
            "s3" => Platform::S3,
            "gs" => Platform::Google,
            "az" => Platform::Azure,
            other => return Err(wrong(&format!("the scheme {other}:// is not known"))),
        };
        // Never repeated: it may hold what nobody should see.
        if !parsed.username().is_empty() || parsed.password().is_some() || parsed.query().is_some() {
            return Err(wrong(
                "credentials and options do not belong in it (crashstore.key_id, crashstore.key)",
            ));
        }
        let bucket = parsed.host_str().filter(|host| !host.is_empty());
        let bucket = bucket.ok_or_else(|| wrong("the bucket is missing"))?.to_owned();
        Ok(Self { platform, bucket, prefix: parsed.path().trim_matches('/').to_owned() })
    }

    pub(crate) fn connect(&self, config: &Config) -> Result<Arc<dyn ObjectStore>, Error> {
        install_tls_provider();
        let connected = match self.platform {
            Platform::S3 => self.s3(config),
            Platform::Google => self.google(config),
            Platform::Azure => self.azure(config),
        };
        connected.map_err(|error| Error::object_store("getting ready for crashstore.url", error))
    }

    fn s3(&self, config: &Config) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&self.bucket)
            .with_client_options(client(config))
            .with_retry(retry(config));
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &config.region {
            builder = builder.with_region(region);
        }
        if let Some(key_id) = &config.key_id {
            builder = builder.with_access_key_id(key_id).with_secret_access_key(config.key.expose());
        }
        Ok(Arc::new(builder.build()?))
    }

    fn google(&self, config: &Config) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder = GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(&self.bucket)
            .with_client_options(client(config))
            .with_retry(retry(config));
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        if !config.key.is_empty() {
            builder = builder.with_service_account_key(config.key.expose());
        }
        Ok(Arc::new(builder.build()?))
    }

    fn azure(&self, config: &Config) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder = MicrosoftAzureBuilder::from_env()
            .with_container_name(&self.bucket)
            .with_client_options(client(config))
            .with_retry(retry(config));
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        if let Some(account) = &config.key_id {
            builder = builder.with_account(account);
        }
        if !config.key.is_empty() {
            builder = builder.with_access_key(config.key.expose());
        }
        Ok(Arc::new(builder.build()?))
    }
}

fn client(config: &Config) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(config.allow_http)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(config.request_timeout.get())
}

fn retry(config: &Config) -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: LONGEST_PAUSE, base: 2.0 };
    RetryConfig { backoff, max_retries: config.retries as usize, retry_timeout: LAST_TRY }
}

/// Makes rustls with the *ring* provider the process's way of speaking TLS, unless one is installed already: the HTTP
/// client refuses to be made without.
fn install_tls_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // It fails only where another thread was quicker, and then there is one.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_and_prefix_are_read_from_the_address() {
        let parsed = |url: &str| {
            let address = Address::parse(url).unwrap();
            (address.platform, address.bucket, address.prefix)
        };
        let is = |platform, bucket: &str, prefix: &str| (platform, bucket.to_owned(), prefix.to_owned());
        assert_eq!(parsed("s3://crashes"), is(Platform::S3, "crashes", ""));
        assert_eq!(parsed("s3://crashes/"), is(Platform::S3, "crashes", ""));
        assert_eq!(parsed("gs://crashes/a/b/"), is(Platform::Google, "crashes", "a/b"));
        assert_eq!(parsed("az://crashes/a"), is(Platform::Azure, "crashes", "a"));
    }

    #[test]
    fn an_address_that_is_none_is_refused_and_its_credentials_are_not_repeated() {
        for url in
            ["", "crashes", "file:///crashes", "s3://", "s3://id:hunter2@crashes", "s3://crashes?key=hunter2"]
        {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains("crashstore.url") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn every_platform_is_got_ready_for_without_being_asked() {
        let key = settings::Secret::new("c2VjcmV0");
        let config = Config { key_id: Some("account".to_owned()), key, ..Config::default() };
        for url in ["s3://crashes", "az://crashes"] {
            Address::parse(url).unwrap().connect(&config).unwrap();
        }
        Address::parse("gs://crashes").unwrap().connect(&Config::default()).unwrap();
        // What is no service account is said at once.
        assert!(Address::parse("gs://crashes").unwrap().connect(&config).is_err());
    }
}
