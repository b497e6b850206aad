//! Where symbols come from.

use std::{fs, path::PathBuf, time::Duration};

use futures_util::future::join_all;
use reqwest::Client;
use settings::ServiceUrl;

use super::{
    findings::{Finding, Findings, State},
    folders,
};
use crate::config::Config;

/// How long a server may take to answer at all.
const ANSWER: Duration = Duration::from_secs(8);

pub(super) async fn look(config: Config) -> Findings {
    let (symbols, marks) = (config.symbols, config.crashstore.watermarks());
    let mut findings = Findings::default();
    if symbols.paths.is_empty() && symbols.servers.is_empty() {
        findings.warn(
            "symbols.sources",
            "there is neither a folder nor a server of symbols: stacks show modules and offsets alone",
            "name folders in symbols.paths and fill the first by `crashmill symbols add`, or servers in symbols.servers",
        );
    }
    for path in symbols.paths {
        findings.append(folder(path).await);
    }
    if symbols.servers.is_empty() {
        return findings;
    }
    let cache = folders::symbols_cache(symbols.cache, marks);
    let client = Client::builder().timeout(ANSWER).build();
    let asking = async {
        match &client {
            Ok(client) => join_all(symbols.servers.iter().map(|server| ask(client, server))).await,
            Err(error) => vec![Finding::new("symbols.server", State::Fail, error)],
        }
    };
    let (cache, servers) = tokio::join!(cache, asking);
    servers.into_iter().map(Findings::of).for_each(|server| findings.append(server));
    findings.append(cache);
    findings
}

async fn folder(path: PathBuf) -> Findings {
    let looked = path.clone();
    let entries = tokio::task::spawn_blocking(move || fs::read_dir(looked).map(Iterator::count)).await;
    let mut findings = Findings::default();
    match entries {
        Ok(Ok(count)) => {
            findings.ok("symbols.folder", format!("{} has symbols of {count} debug files", path.display()));
        }
        Ok(Err(error)) => findings.warn(
            "symbols.folder",
            format!("{} cannot be read: {error}", path.display()),
            "make it and let the user of the roles read it, or take it out of symbols.paths",
        ),
        Err(_) => {}
    }
    findings
}

/// Any answer is one: few symbol servers have anything at their root.
async fn ask(client: &Client, server: &ServiceUrl) -> Finding {
    match client.get(server.expose()).send().await {
        Ok(answer) if answer.status().is_server_error() => {
            Finding::new("symbols.server", State::Warn, format!("{server} answers {}", answer.status()))
                .advised("crashes are processed without its symbols meanwhile; see to the server")
        }
        Ok(_) => Finding::new("symbols.server", State::Ok, format!("{server} answers")),
        Err(error) => {
            let error = anyhow::Error::from(error.without_url());
            Finding::new("symbols.server", State::Warn, format!("{server} does not answer: {error:#}")).advised(
                "crashes are processed without its symbols meanwhile; see to the way to it, or take it out of symbols.servers",
            )
        }
    }
}
