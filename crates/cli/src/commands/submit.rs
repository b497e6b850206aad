//! `crashmill submit`: a client.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use crash::{CrashId, MAIN_DUMP};
use reqwest::multipart::{Form, Part};
use url::Url;

use crate::print;

/// How long the whole upload may take.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Send a crash report; the crash id alone goes to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  crashmill submit crash.dmp --url http://127.0.0.1:8080/submit --annotation ProductName=Game --annotation Version=1.2
  crashmill submit main.dmp --dump upload_file_minidump_gpu=gpu.dmp --url https://crashes.example/submit")]
pub(crate) struct Args {
    /// The main minidump; without one the annotations alone are sent
    dump: Option<PathBuf>,
    /// Where the report goes
    #[arg(long, env = "CRASHMILL_SUBMIT_URL")]
    url: Url,
    /// An annotation; may be given many times
    #[arg(long = "annotation", short = 'a', value_name = "KEY=VALUE", value_parser = pair)]
    annotations: Vec<(String, String)>,
    /// A further dump under a field name of its own; may be given many times
    #[arg(long = "dump", value_name = "NAME=FILE", value_parser = pair)]
    dumps: Vec<(String, String)>,
}

pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    print::block_on(async {
        let id = submit(args).await?;
        println!("{id}");
        Ok(ExitCode::SUCCESS)
    })
}

async fn submit(args: &Args) -> anyhow::Result<CrashId> {
    let mut form = Form::new();
    for (key, value) in &args.annotations {
        form = form.text(key.clone(), value.clone());
    }
    let main = args.dump.iter().map(|path| (MAIN_DUMP.to_owned(), path.clone()));
    let more = args.dumps.iter().map(|(name, path)| (name.clone(), PathBuf::from(path)));
    for (name, path) in main.chain(more) {
        let bytes = tokio::fs::read(&path).await.with_context(|| format!("reading {}", path.display()))?;
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        form = form.part(name, Part::bytes(bytes).file_name(file_name));
    }

    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .user_agent(concat!("crashmill-submit/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let response = client
        .post(args.url.clone())
        .multipart(form)
        .send()
        .await
        .with_context(|| format!("sending the report to {}", args.url))?;
    let status = response.status();
    let body = response.text().await.with_context(|| format!("reading the answer of {}", args.url))?;
    let body = body.trim();
    if !status.is_success() {
        bail!("{} answered {status}: {body}", args.url);
    }
    // Mozilla-style routes name the id, the others answer with it alone.
    let id = body.strip_prefix("CrashID=").unwrap_or(body);
    id.parse().with_context(|| format!("{} took no crash: {body}", args.url))
}
