//! What was found, and how it is told.

use std::fmt::Display;

use owo_colors::OwoColorize;
use serde::Serialize;

use crate::print;

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// It could not be looked at, or does not apply here.
    Skip,
    /// It works, and will not for ever, or not well.
    Warn,
    /// Something does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    check: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    pub(super) fn new(check: &'static str, state: State, found: impl Display) -> Self {
        Self { check, state, found: found.to_string(), advice: None }
    }

    /// With what to do about it.
    pub(super) fn advised(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// What was found, in the order in which it is told.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    /// What the exit status says.
    good: bool,
    findings: &'a [Finding],
}

impl Findings {
    pub(super) fn of(finding: Finding) -> Self {
        Self(vec![finding])
    }

    pub(super) fn ok(&mut self, check: &'static str, found: impl Display) {
        self.0.push(Finding::new(check, State::Ok, found));
    }

    pub(super) fn skip(&mut self, check: &'static str, found: impl Display) {
        self.0.push(Finding::new(check, State::Skip, found));
    }

    pub(super) fn warn(&mut self, check: &'static str, found: impl Display, advice: impl Into<String>) {
        self.0.push(Finding::new(check, State::Warn, found).advised(advice));
    }

    pub(super) fn fail(&mut self, check: &'static str, found: impl Display, advice: impl Into<String>) {
        self.0.push(Finding::new(check, State::Fail, found).advised(advice));
    }

    pub(super) fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    /// Forgets what was not asked for.
    pub(super) fn keep_only(&mut self, only: &[String]) {
        let wanted = |finding: &Finding| {
            // Without a configuration nothing else could be looked at.
            finding.state == State::Fail && finding.check == "configuration"
                || only.iter().any(|only| finding.check.starts_with(only.as_str()))
        };
        if !only.is_empty() {
            self.0.retain(wanted);
        }
    }

    pub(super) fn are_good(&self, strict: bool) -> bool {
        let worst = if strict { State::Ok } else { State::Warn };
        // Nothing found is nothing looked at: a check of that name there is none.
        !self.0.is_empty() && self.0.iter().all(|finding| finding.state as u8 <= worst as u8)
    }

    pub(super) fn report(&self, strict: bool) -> Report<'_> {
        Report { good: self.are_good(strict), findings: &self.0 }
    }

    pub(super) fn print(&self) {
        if self.0.is_empty() {
            println!("no check has such a name");
        }
        for Finding { check, state, found, advice } in &self.0 {
            println!("{}  {check:<22} {found}", label(*state));
            if let Some(advice) = advice {
                println!("{:28} -> {advice}", "");
            }
        }
    }
}

fn label(state: State) -> String {
    let (text, style) = match state {
        State::Ok => ("ok  ", owo_colors::Style::new().green()),
        State::Skip => ("skip", owo_colors::Style::new().dimmed()),
        State::Warn => ("warn", owo_colors::Style::new().yellow()),
        State::Fail => ("FAIL", owo_colors::Style::new().red().bold()),
    };
    if print::is_coloured() { text.style(style).to_string() } else { text.to_owned() }
}
