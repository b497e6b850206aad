//! `crashmill signature`: crash data as JSON lines in, signatures as JSON lines out.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufWriter, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use crash::{FrameFate, ListLine, ProcessedCrash, RuleOutcome, SignatureExplanation};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;
use signature::{Bucket, CrashData, Generator, Lists, Mix, Signature};

use crate::{args::Place, config::Config, print};

/// The longest line that is taken; a processed crash of the largest dump has less.
const LONGEST_LINE: u64 = 256 * 1024 * 1024;

/// Make the signatures of crashes: one JSON object a line on standard input, one a line on standard output.
///
/// A line is crash data in the form that Mozilla's signature generator takes, or a processed crash. Crash data gets
/// the signature of that generator; a processed crash gets the one that a processor gives it, which also tells programs
/// without symbols apart and names mixes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  crashmill signature < crashes.jsonl | jq -r .signature
  crashmill process crash.dmp | jq -c . | crashmill signature --explain
  crashmill signature --lists ./siglists --explain --json < crashes.jsonl
  crashmill signature --mixes < crashes.jsonl

A line that is no crash gives {\"line\": its number, \"error\": why}, and the next one is taken.
Exit status: 0 done, 1 when such a line was among them, or the lists cannot be read.")]
pub(crate) struct Args {
    /// A folder of lists [default: what the configuration says, else the ones that ship with the product]
    #[arg(long, value_name = "DIR")]
    lists: Option<PathBuf>,
    /// Say why, for people
    #[arg(long)]
    explain: bool,
    /// With --explain: JSON lines that have the explanation as well
    #[arg(long)]
    json: bool,
    /// A line for each signature that is a mix instead: many unlike stacks, or no frame of the program
    #[arg(long, conflicts_with = "explain")]
    mixes: bool,
}

/// What is written for a crash.
#[derive(Debug, Serialize)]
struct Named {
    signature: String,
    proto_signature: String,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<SignatureExplanation>,
}

/// What is written for a signature that is a mix.
#[derive(Debug, Serialize)]
struct Mixed<'a> {
    signature: &'a str,
    crashes: u64,
    mix: String,
}

/// What is written for a line that is no crash.
#[derive(Debug, Serialize)]
struct BadLine {
    line: u64,
    error: String,
}

pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let generator = match &args.lists {
        Some(folder) => Generator::new(Lists::read(folder)?),
        None => {
            processor::signatures(&Config::load(place)?.processor).context("reading the signature lists")?
        }
    };
    let mut output = BufWriter::new(io::stdout().lock());
    let mut buckets = BTreeMap::new();
    let mut input = io::stdin().lock();
    let mut exit_code = ExitCode::SUCCESS;
    for number in 1.. {
        let Some(line) = next_line(&mut input).context("reading standard input")? else { break };
        let named = signature_of(&line, &generator);
        if named.is_err() {
            exit_code = ExitCode::FAILURE;
        }
        match take(&mut output, number, named, args, &mut buckets) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(exit_code),
            taken => taken.context("writing to standard output")?,
        }
    }
    write_mixes(&mut output, &buckets).context("writing to standard output")?;
    Ok(exit_code)
}

/// Writes what a line gave, or keeps it for the mixes.
fn take(
    output: &mut impl Write,
    line: u64,
    named: Result<Signature, String>,
    args: &Args,
    buckets: &mut BTreeMap<String, Bucket>,
) -> io::Result<()> {
    match named {
        Ok(made) if args.mixes => {
            buckets.entry(made.signature.clone()).or_default().add(&made.signature, &made.proto_signature);
            Ok(())
        }
        named => {
            write(output, line, named, args)?;
            // Whoever types lines, or waits for an answer to one before the next, has it at once.
            output.flush()
        }
    }
}

fn write_mixes(output: &mut impl Write, buckets: &BTreeMap<String, Bucket>) -> io::Result<()> {
    for (signature, bucket) in buckets {
        if let Some(mix) = bucket.mix(signature) {
            write_json(output, &Mixed { signature, crashes: bucket.crashes(), mix: why(mix) })?;
        }
    }
    output.flush()
}

fn why(mix: Mix) -> String {
    match mix {
        Mix::NoFrameOfItsOwn => "no frame is the program's own".to_owned(),
        Mix::UnlikeStacks { kinds } => format!("{kinds} kinds of unlike stacks"),
    }
}

/// The next line, without its end; nothing at the end of the input. Of a line that is too long the beginning.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    input.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 > LONGEST_LINE {
        input.skip_until(b'\n')?;
    }
    Ok(Some(line))
}

/// Makes the signature of one line; an error says why it is no crash.
fn signature_of(line: &[u8], generator: &Generator) -> Result<Signature, String> {
    if line.len() as u64 > LONGEST_LINE {
        return Err(format!("longer than {LONGEST_LINE} bytes"));
    }
    let json: Value = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
    if is_processed_crash(&json) {
        let crash = ProcessedCrash::deserialize(json)
            .map_err(|error| format!("not a processed crash that this release can read: {error}"))?;
        return Ok(generator.generate(&CrashData::from_processed(&crash)));
    }
    let crash = CrashData::from_json(&json).map_err(|error| error.to_string())?;
    Ok(generator.generate(&crash))
}

/// Whether JSON is a processed crash of ours rather than bare crash data.
fn is_processed_crash(json: &Value) -> bool {
    ["format", "crash_id", "submitted_at"].iter().all(|key| json.get(key).is_some())
}

fn write(
    output: &mut impl Write,
    line: u64,
    named: Result<Signature, String>,
    args: &Args,
) -> io::Result<()> {
    match named {
        Err(error) => write_json(output, &BadLine { line, error }),
        Ok(made) if args.explain && !args.json => explain(output, &made),
        Ok(Signature { signature, proto_signature, notes, explanation }) => {
            let explanation = args.explain.then_some(explanation);
            write_json(output, &Named { signature, proto_signature, notes, explanation })
        }
    }
}

fn write_json(output: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *output, value)?;
    output.write_all(b"\n")
}

/// A signature's story for people: the name, each frame and what became of it, and what each rule did.
fn explain(output: &mut impl Write, made: &Signature) -> io::Result<()> {
    writeln!(output, "{}", print::bold(&made.signature))?;
    writeln!(output, "  {}", made.explanation.sentence)?;
    for frame in &made.explanation.frames {
        let inlined = if frame.inlined { " [inlined]" } else { "" };
        write!(output, "  {:>3}  {:<12} {}{inlined}", frame.frame, fate(frame.fate), frame.text)?;
        for (why, line) in [("", &frame.because), ("begins: ", &frame.begins), ("line: ", &frame.numbered)] {
            cite(output, why, line.as_deref())?;
        }
        writeln!(output)?;
    }
    for rule in made.explanation.rules.iter().filter(|rule| rule.outcome != RuleOutcome::Unchanged) {
        let failed = if rule.outcome == RuleOutcome::Failed { "failed: " } else { "" };
        writeln!(output, "  {}: {failed}{}", rule.rule, rule.what)?;
    }
    for note in &made.notes {
        writeln!(output, "  note: {note}")?;
    }
    writeln!(output)
}

fn cite(output: &mut impl Write, why: &str, line: Option<&ListLine>) -> io::Result<()> {
    line.map_or(Ok(()), |line| write!(output, "  ({why}{line}: {})", line.entry))
}

fn fate(fate: FrameFate) -> &'static str {
    match fate {
        FrameFate::BeforeStart => "before start",
        FrameFate::Nameless => "nameless",
        FrameFate::Skipped => "skipped",
        FrameFate::Repeated => "repeated",
        FrameFate::Kept => "kept",
        FrameFate::Ended => "ended",
        FrameFate::LastResort => "last resort",
        FrameFate::NotReached => "",
    }
}
