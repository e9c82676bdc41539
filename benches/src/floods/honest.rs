//! Honest knocks in the middle of a flood: who knocks, whether the door opens, and how late.
//!
//! They are sent by the thread that sends the flood, between two of its bursts, so that they stand in line with it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::measure::Scale;
use crate::prober::Prober;
use crate::sample::{Samples, tell};
use crate::server::KNOCKS;

/// How long one lies behind the other, of one knocker.
const BETWEEN_KNOCKS: Duration = Duration::from_millis(1);
/// How often the port is tried behind the last knock, at first; later less often, by this part of the time that went by.
const PACE: Duration = Duration::from_micros(50);
const SLOWER: u32 = 50;

/// What became of the honest ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Honest {
    tried: u32,
    /// For each that was let in, the time from its last knock to its first packet that got through.
    opened: Samples,
}

impl Honest {
    /// How many of them were let in, in words.
    pub(super) fn count(&self) -> String {
        format!("{} of {}", self.opened.count(), self.tried)
    }

    /// The part of them that was let in.
    pub(super) fn part(&self) -> f64 {
        self.opened.count() as f64 / f64::from(self.tried.max(1))
    }
}

impl fmt::Display for Honest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.count())?;
        if self.opened.count() == 0 {
            return Ok(());
        }
        write!(f, ", {}, at worst {}", tell(self.opened.median()), tell(self.opened.worst()))
    }
}

/// Somebody who knocks.
struct Knocker {
    source: IpAddr,
    /// What is left to be sent, and when each is due.
    knocks: Vec<(Duration, Vec<u8>)>,
    /// When the last knock was sent.
    knocked: Option<Duration>,
    next_probe: Duration,
    port: u16,
}

/// Those who knock while a flood lasts.
pub(super) struct Knockers<'a> {
    prober: &'a Prober,
    under_way: Vec<Knocker>,
    patience: Duration,
    every: Duration,
    left: u32,
    next: Duration,
    outcome: Honest,
}

impl<'a> Knockers<'a> {
    /// Some who begin one after the other.
    pub(super) fn new(prober: &'a Prober, scale: Scale) -> Self {
        let Scale { time, honest: left, patience, .. } = scale;
        let every = time / (left + 1);
        let outcome = Honest { tried: left, ..Honest::default() };
        Self { prober, under_way: Vec::new(), patience, every, left, next: every, outcome }
    }

    /// Does what is due by now.
    pub(super) fn go_on(&mut self, now: Duration) -> io::Result<()> {
        if self.left > 0 && self.next <= now {
            self.left -= 1;
            self.next += self.every;
            self.under_way.push(Knocker::new(self.prober, now));
        }
        for knocker in &mut self.under_way {
            knocker.go_on(self.prober, now)?;
        }
        self.welcome(now)?;
        let patience = self.patience;
        self.under_way.retain(|knocker| knocker.knocked.is_none_or(|at| now < at + patience));
        Ok(())
    }

    /// Whether all have been let in or have given up.
    pub(super) fn are_done(&self) -> bool {
        self.left == 0 && self.under_way.is_empty()
    }

    pub(super) fn outcome(self) -> Honest {
        self.outcome
    }

    /// Notes who has got through.
    fn welcome(&mut self, now: Duration) -> io::Result<()> {
        if self.under_way.is_empty() {
            return Ok(());
        }
        while let Some(source) = self.prober.arrived_from()? {
            let through = |knocker: &Knocker| knocker.source == source;
            let Some(index) = self.under_way.iter().position(through) else { continue };
            let knocker = self.under_way.swap_remove(index);
            self.outcome.opened.add(now.saturating_sub(knocker.knocked.unwrap_or_default()));
        }
        Ok(())
    }
}

impl Knocker {
    fn new(prober: &Prober, now: Duration) -> Self {
        let source = prober.fresh_source();
        let knock = |(index, (port, is_udp)): (u32, (u16, bool))| {
            (now + BETWEEN_KNOCKS * index, prober.knock(source, port, is_udp))
        };
        let mut knocks: Vec<_> = (0..).zip(KNOCKS).map(knock).collect();
        knocks.reverse();
        Self { source, knocks, knocked: None, next_probe: now, port: 20_000 }
    }

    fn go_on(&mut self, prober: &Prober, now: Duration) -> io::Result<()> {
        if let Some((_, knock)) = self.knocks.pop_if(|(due, _)| *due <= now) {
            prober.send(&knock)?;
            self.knocked = self.knocks.is_empty().then_some(now);
        } else if let Some(knocked) = self.knocked.filter(|_| self.next_probe <= now) {
            // Another port each time: a connection of its own.
            self.port += 1;
            prober.send(&prober.probe(self.source, self.port))?;
            self.next_probe = now + PACE.max((now - knocked) / SLOWER);
        }
        Ok(())
    }
}
