//! One flood against one receiver.

use std::fs;
use std::io;
use std::time::Duration;

use lab::{Flood, Host, Sent};

use super::bare;
use super::honest::{Honest, Knockers};
use super::scenario::Scenario;
use crate::machine;
use crate::processors::{End, at};
use crate::sample::tell;
use crate::server::{self, Server, busy};

/// How large a measurement is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// How long a flood lasts at least.
    pub(super) time: Duration,
    /// How many knock honestly, evenly spread over that time.
    pub(super) honest: u32,
    /// How long each of them waits for the door to open; the flood goes on until then.
    pub(super) patience: Duration,
    pub(super) quick: bool,
}

impl Scale {
    pub(super) fn of(quick: bool) -> Self {
        let (time, honest, patience) = if quick { (300, 2, 300) } else { (5_000, 20, 10_000) };
        let [time, patience] = [time, patience].map(Duration::from_millis);
        Self { time, honest, patience, quick }
    }
}

/// What a flood did.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) sent: Sent,
    /// The receiver's processor time.
    pub(super) busy: Duration,
    /// How many packets the receiver took, where that is known.
    pub(super) taken: Option<u64>,
    pub(super) honest: Honest,
}

impl Outcome {
    /// The processor time for each packet that was taken; for each that was sent where it is not known how many those
    /// are.
    pub(super) fn per_packet(&self) -> Duration {
        each(self.busy, self.taken.unwrap_or(self.sent.packets))
    }

    /// The part of the packets that nobody took.
    pub(super) fn lost(&self) -> f64 {
        let lost = self.sent.packets.saturating_sub(self.taken.unwrap_or(self.sent.packets));
        lost as f64 / self.sent.packets.max(1) as f64
    }

    /// In words: what a packet cost, and what was not as it should be; `pace` is the rate that was wanted.
    pub(super) fn cost(&self, pace: Option<u32>) -> String {
        /// A part that is worth a word.
        const NOTABLE: f64 = 0.01;
        let mut words = tell(self.per_packet());
        if self.lost() > NOTABLE {
            let sent = tell(each(self.busy, self.sent.packets));
            words += &format!(", {:.0} % lost ({sent} for each sent)", self.lost() * 100.0);
        }
        let rate = self.sent.packets as f64 / self.sent.time.as_secs_f64().max(f64::MIN_POSITIVE);
        if pace.is_none_or(|pace| rate < f64::from(pace) * (1.0 - NOTABLE)) {
            words += &format!(", at {:.0},000 a second", rate / 1e3);
        }
        words
    }
}

fn each(time: Duration, packets: u64) -> Duration {
    Duration::from_secs_f64(time.as_secs_f64() / packets.max(1) as f64)
}

/// Floods a daemon, at which some knock honestly meanwhile.
pub(super) fn flood(server: &Server, scenario: &Scenario, scale: Scale) -> io::Result<Outcome> {
    let host = server.lab.server();
    let mut flood = Flood::open(server.lab.client(), "eth0", host, "eth0")?;
    let mut knockers = Knockers::new(&server.prober, scale);
    rest(scale);
    go_ahead(&mut flood, scenario)?;
    let before = (server.busy()?, dropped(host)?, logged(server)?);
    let sent = at(End::Client, || {
        flood.run(&scenario.traffic, scenario.pace, |now| {
            knockers.go_on(now)?;
            Ok(now < scale.time || !knockers.are_done())
        })
    })?;
    let after = (server.busy()?, dropped(host)?, logged(server)?);
    let taken = if server.is_ours {
        Some(sent.packets.saturating_sub(after.1.saturating_sub(before.1)))
    } else {
        scenario.is_logged.then_some(after.2.saturating_sub(before.2))
    };
    Ok(Outcome { sent, busy: after.0.saturating_sub(before.0), taken, honest: knockers.outcome() })
}

/// Floods a program that only receives.
pub(super) fn flood_bare(scenario: &Scenario, scale: Scale) -> io::Result<Outcome> {
    let lab = server::firewalled()?;
    let mut flood = Flood::open(lab.client(), "eth0", lab.server(), "eth0")?;
    let receiver = bare::start(lab.server())?;
    rest(scale);
    let before = (busy(receiver.id())?, dropped(lab.server())?);
    let sent = at(End::Client, || flood.run(&scenario.traffic, scenario.pace, |now| Ok(now < scale.time)))?;
    let after = (busy(receiver.id())?, dropped(lab.server())?);
    let taken = Some(sent.packets.saturating_sub(after.1.saturating_sub(before.1)));
    Ok(Outcome { sent, busy: after.0.saturating_sub(before.0), taken, honest: Honest::default() })
}

/// Waits until nothing else runs, where the figures are to say something.
fn rest(scale: Scale) {
    if !scale.quick {
        machine::rest();
    }
}

/// Sends what goes ahead of the measurement.
fn go_ahead(flood: &mut Flood, scenario: &Scenario) -> io::Result<()> {
    /// Packets a second: a million within a third of what a door's sequence may take.
    const PACE: u32 = 200_000;
    let time = Duration::from_secs(1) * scenario.ahead / PACE;
    at(End::Client, || flood.run(&scenario.traffic, Some(PACE), |now| Ok(now < time)))?;
    Ok(())
}

/// How many packets found no room at the packet sockets of a host, as the kernel counts them where there is no ring.
pub(crate) fn dropped(host: &Host) -> io::Result<u64> {
    let sockets = host.sh("ss --packet --memory --no-header")?;
    let counts = sockets.split(",d").skip(1).filter_map(|rest| rest.split(')').next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

/// How many first knocks Debian's knockd has logged.
fn logged(server: &Server) -> io::Result<u64> {
    if server.is_ours {
        return Ok(0);
    }
    let log = fs::read(server.log())?;
    let line = b": door: Stage 1";
    Ok(log.split(|byte| *byte == b'\n').filter(|found| found.ends_with(line)).count() as u64)
}
