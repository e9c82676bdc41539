//! What a trial tells, step by step.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{print, printable, printable_json};

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Ok,
    Failed,
    /// Nothing was tried, or nothing can be said.
    Unknown,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// `IPv4` or `IPv6`.
    pub(crate) family: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

/// How far a stranger came, by any family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reached {
    Nothing,
    /// The door opened.
    Opened,
    /// A connection was made behind it.
    Connected,
}

/// Tells steps as they are made, or all at the end as JSON.
pub(crate) struct Protocol {
    json: bool,
    family: &'static str,
    steps: Vec<Step>,
    pub(crate) reached: Reached,
    /// The TCP ports behind the open door at which nothing listens.
    unserved: Vec<u16>,
}

impl Protocol {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json, family: "", steps: Vec::new(), reached: Reached::Nothing, unserved: Vec::new() }
    }

    /// The steps that follow are of one family.
    pub(crate) fn begin(&mut self, family: &'static str, heading: &str) -> Result<(), Failure> {
        self.family = family;
        if self.json { Ok(()) } else { print(&format!("{heading}\n")) }
    }

    pub(crate) fn ok(&mut self, message: impl Into<String>) -> Result<(), Failure> {
        self.tell(Outcome::Ok, message.into(), None)
    }

    pub(crate) fn unknown(&mut self, message: impl Into<String>) -> Result<(), Failure> {
        self.tell(Outcome::Unknown, message.into(), None)
    }

    pub(crate) fn failed(&mut self, message: impl Into<String>, remedy: &str) -> Result<(), Failure> {
        self.tell(Outcome::Failed, message.into(), Some(remedy.to_owned()))
    }

    fn tell(&mut self, outcome: Outcome, message: String, remedy: Option<String>) -> Result<(), Failure> {
        let step = Step { family: self.family, outcome, message, remedy };
        let text = line(&step);
        self.steps.push(step);
        if self.json { Ok(()) } else { print(&text) }
    }

    /// Nothing listens at this port behind the open door.
    pub(crate) fn unserved(&mut self, port: u16) {
        if !self.unserved.contains(&port) {
            self.unserved.push(port);
        }
    }

    /// The last word.
    pub(crate) fn end(self, door: &str) -> Result<(), Failure> {
        let (works, verdict) = self.verdict(door);
        print(&match self.json {
            true => {
                let told = json!({ "door": door, "works": works, "verdict": verdict, "steps": self.steps });
                format!("{}\n", printable_json(&told.to_string()))
            }
            false => format!("\n{}.\n", printable(&verdict)),
        })?;
        if works { Ok(()) } else { Err(Failure::Told) }
    }

    /// A door works where somebody came in and nothing failed.
    fn verdict(&self, door: &str) -> (bool, String) {
        if self.steps.iter().any(|step| step.outcome == Outcome::Failed) {
            return (false, format!("{door} does not work as it should"));
        }
        let unserved: Vec<_> = self.unserved.iter().map(|port| format!("{port}/tcp")).collect();
        match (self.reached, unserved.is_empty()) {
            (Reached::Connected, _) => (true, format!("{door} works")),
            (Reached::Opened, false) => {
                (false, format!("{door}: the door opens, but nothing listens at {}", unserved.join(", ")))
            }
            (Reached::Opened, true) => (
                false,
                format!(
                    "{door} opens, but no connection could be tried, so nothing is known of what is behind it"
                ),
            ),
            (Reached::Nothing, _) => (false, format!("nothing was tried, so nothing is known of {door}")),
        }
    }
}

fn line(step: &Step) -> String {
    let word = match step.outcome {
        Outcome::Ok => "ok",
        Outcome::Failed => "failed",
        Outcome::Unknown => "-",
    };
    let remedy = step.remedy.iter().map(|remedy| format!("          > {}\n", printable(remedy)));
    format!("  {word:8}{}\n{}", printable(&step.message), remedy.collect::<String>())
}

/// A short time, for people.
pub(crate) fn short(time: Duration) -> String {
    match time.as_millis() {
        0 => "less than 1 ms".into(),
        1..=9_999 => format!("{} ms", time.as_millis()),
        _ => format!("{} s", time.as_secs()),
    }
}
