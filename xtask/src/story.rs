//! Telling on a terminal what happens, and when.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};
use std::{env, fmt};

use lab::Daemon;

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "31";
const CYAN: &str = "36";

/// A story with its clock, which began when it was made.
pub(crate) struct Story {
    begin: Instant,
    has_colours: bool,
    lines_told: usize,
}

impl Story {
    /// Begins, in colours where the output is a terminal and nobody objects (`NO_COLOR`).
    pub(crate) fn begin() -> Self {
        let is_unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let has_colours = io::stdout().is_terminal() && !is_unwanted;
        Self { begin: Instant::now(), has_colours, lines_told: 0 }
    }

    /// A heading.
    pub(crate) fn heading(&self, text: &str) {
        println!("\n{}\n", self.paint(BOLD, text));
    }

    /// Text that stands aside, such as a configuration file.
    pub(crate) fn aside(&self, text: &str) {
        for line in text.lines() {
            println!("          {}", self.paint(DIM, line));
        }
        println!();
    }

    /// Something is being done.
    pub(crate) fn act(&self, text: impl fmt::Display) {
        self.line(self.begin.elapsed(), &self.paint(CYAN, "→"), &text.to_string());
    }

    /// Something turned out as it should, or not, which ends the story.
    pub(crate) fn check(&self, text: &str, outcome: io::Result<()>) -> io::Result<()> {
        let now = self.begin.elapsed();
        match &outcome {
            Ok(()) => self.line(now, &self.paint(GREEN, "✓"), &self.paint(BOLD, text)),
            Err(_) => self.line(now, &self.paint(RED, "✗"), &self.paint(RED, &format!("not so: {text}"))),
        }
        outcome
    }

    /// What the daemon said since it was last asked, each line at the time that it was said.
    pub(crate) fn listen(&mut self, daemon: &Daemon) {
        let lines = daemon.lines();
        for line in &lines[self.lines_told..] {
            let time = line.at.saturating_duration_since(self.begin);
            self.line(time, " ", &self.paint(DIM, &format!("knockd │ {}", line.text)));
        }
        self.lines_told = lines.len();
    }

    /// Time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    fn line(&self, time: Duration, sign: &str, text: &str) {
        let time = format!("{:6.2} s", time.as_secs_f64());
        println!("{}  {sign} {text}", self.paint(DIM, &time));
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.has_colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
