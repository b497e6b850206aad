//! `crashmill process`: one crash through the whole transform, without any service.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use crash::{
    Annotations, CrashId, Dump, DumpMetadata, MAIN_DUMP, ProcessedDump, RAW_FORMAT, RawCrash, RawMetadata,
    Throttle, ThrottleDigit,
};
use jiff::Timestamp;
use processor::Circumstances;

use super::{stackwalk::walk_in_worker, submit::pair};
use crate::{args::Place, config::Config, print};

/// Put one minidump through the whole transform, without any service; JSON to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  crashmill process crash.dmp --symbols ./symbols --annotation ProductName=Game
  crashmill process crash.dmp | jq .signature")]
pub(crate) struct Args {
    /// The minidump
    dump: PathBuf,
    /// A folder of Breakpad symbols; may be given many times
    #[arg(long, value_name = "DIR")]
    symbols: Vec<PathBuf>,
    /// An annotation; may be given many times
    #[arg(long = "annotation", short = 'a', value_name = "KEY=VALUE", value_parser = pair)]
    annotations: Vec<(String, String)>,
    /// Show the crash to people instead
    #[arg(long)]
    human: bool,
}

pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let mut config = Config::load(place)?;
    config.symbols.paths.splice(0..0, args.symbols.iter().cloned());
    let signatures = processor::signatures(&config.processor).context("reading the signature lists")?;
    let bytes = fs::read(&args.dump).with_context(|| format!("reading {}", args.dump.display()))?;
    print::block_on(async {
        let started_at = Timestamp::now();
        let raw = raw_crash(bytes, args, started_at)?;
        let mut dumps = Vec::new();
        for (dump, metadata) in raw.dumps.iter().zip(&raw.metadata.dumps) {
            dumps.push(ProcessedDump {
                name: dump.name.clone(),
                bytes: metadata.bytes,
                sha256: metadata.sha256.clone(),
                stackwalk: walk_in_worker(&config, dump.bytes.clone()).await?,
            });
        }
        let circumstances = Circumstances {
            node: "command".to_owned(),
            attempt: 1,
            started_at,
            completed_at: Timestamp::now(),
        };
        let processed = processor::transform(&raw, dumps, circumstances, &signatures);
        if args.human {
            print::processed(&processed);
        } else {
            print::json(&processed)?;
        }
        Ok(if processed.success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// The crash that a collector would have made of the dump.
fn raw_crash(bytes: Vec<u8>, args: &Args, now: Timestamp) -> anyhow::Result<RawCrash> {
    let size = bytes.len() as u64;
    let dump = Dump { name: MAIN_DUMP.to_owned(), bytes: bytes.into() };
    let metadata = RawMetadata {
        format: RAW_FORMAT,
        crash_id: CrashId::new(now, ThrottleDigit::Accept, rand::random())?,
        submitted_at: now,
        node: "command".to_owned(),
        throttle: Throttle::Accept,
        throttle_rule: None,
        sample_rate: 1.0,
        payload: "file".to_owned(),
        encoding: "identity".to_owned(),
        bytes_wire: size,
        bytes_inflated: size,
        user_agent: None,
        notes: vec![],
        dumps: vec![DumpMetadata::of(0, &dump, None)],
    };
    let annotations: Annotations = args.annotations.iter().cloned().collect();
    Ok(RawCrash { metadata, annotations, private: Annotations::default(), dumps: vec![dump] })
}
