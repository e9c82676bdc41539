//! A door is knocked at: once, or again until a port is open.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use knock_core::knock::Protocol;
use knock_core::rolling::{KNOCKS, RollingKey};
use knock_core::sequence::Step;
use knock_core::spa::LENGTH;

use crate::error::Error;
use crate::keys::Signer;
use crate::opening::{Answer, Attempts, Look};
use crate::output::{note, show_knock};
use crate::request::{Awaited, Method, Purpose, Request, Signed};
use crate::resolve::Host;
use crate::rolling;
use crate::send::{Sender, Unsent, with_port};
use crate::signing;
use crate::verdict::{Opened, Unopened};

/// How long after the first knock the second is sent; from one to the next it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// How often a connection that others rely on is knocked for again when nothing is said.
const RELAY_RETRIES: u8 = 2;

/// What is knocked, with all that is needed for it.
#[derive(Clone, Copy)]
pub(crate) enum Knock<'a> {
    /// These ports.
    Sequence(&'a [Step]),
    /// The sequence of the moment.
    Rolling(&'a RollingKey),
    /// One datagram, signed anew each time.
    Signed(&'a Signed, &'a Signer),
}

/// What goes to one address.
enum Parcel<'a> {
    Sequence(Cow<'a, [Step]>),
    Datagram(Box<[u8; LENGTH]>, u16),
}

impl<'a> Knock<'a> {
    /// What goes to `target`. Nothing is sent.
    fn pack(self, request: &Request, target: SocketAddr) -> Result<Parcel<'a>, Error> {
        match self {
            Self::Sequence(steps) => Ok(Parcel::Sequence(steps.into())),
            Self::Rolling(key) => Ok(Parcel::Sequence(rolling::steps(key)?.into())),
            Self::Signed(signed, signer) => {
                let target = with_port(target, signed.port);
                let own = || sender(request, Duration::ZERO).own_address(target);
                let datagram = signing::datagram(signed, signer, own)?;
                Ok(Parcel::Datagram(Box::new(datagram), signed.port))
            }
        }
    }

    /// How many pauses it has, the last one included.
    const fn pauses(self) -> usize {
        match self {
            Self::Sequence(steps) => steps.len(),
            Self::Rolling(_) => KNOCKS,
            Self::Signed(..) => 0,
        }
    }

    fn needs_touch(self) -> bool {
        matches!(self, Self::Signed(_, signer) if signer.needs_touch())
    }
}

/// Knocks at each address of `host`, and waits behind it as behind each knock: what follows `&&` relies on the door being
/// open by then.
///
/// # Errors
/// Where a knock cannot be signed or sent.
pub(crate) fn once(request: &Request, host: &Host, knock: Knock<'_>) -> Result<(), Error> {
    let parcels = pack(request, host, knock)?;
    send(request, host, &parcels, request.gap).map(drop)
}

/// Knocks at `host` until the port that is waited for is open, and connects to it.
///
/// # Errors
/// Where a knock cannot be signed or sent, or where the port does not open.
pub(crate) fn until_open(
    request: &Request,
    awaited: Awaited,
    host: &Host,
    knock: Knock<'_>,
) -> Result<Opened, Error> {
    let mut parcels = pack(request, host, knock)?;
    let look = look(request, awaited, host);
    let mut rounds = Rounds::new(awaited, retries(request, awaited, knock), request.gap, knock.pauses());
    let mut met = Answer::Silence;
    loop {
        let reached = send(request, host, &parcels, Duration::ZERO)?;
        let knocked = Instant::now();
        let patience = rounds.next(knocked);
        let mut attempts = Attempts::new(sender(request, Duration::ZERO), at_port(&reached, awaited.port));
        if let Some(connection) = attempts.until_open(patience.time) {
            let (after, before) = (knocked.elapsed(), look.map(Look::outcome));
            return Ok(Opened { connection, after, knocks: rounds.knocks, before });
        }
        let targets = attempts.targets().to_vec();
        // A refusal that was met once may be all that is seen of a door that has closed again.
        if !matches!(met, Answer::Refusal) {
            met = attempts.into_answer();
        }
        if patience.is_last {
            let before = look.map(Look::outcome);
            let (knocks, waited) = (rounds.knocks, rounds.waited());
            return Err(Unopened::new(request, host, targets, met, knocks, waited, before).into());
        }
        note(request, "the port is not open yet: knocking again");
        parcels = pack(request, host, knock)?;
    }
}

/// Where nobody says how often, a token is not to be touched again: the connection would wait for that.
fn retries(request: &Request, awaited: Awaited, knock: Knock<'_>) -> u8 {
    let unsaid = match request.purpose {
        Purpose::Relay(_) if !knock.needs_touch() => RELAY_RETRIES,
        _ => 0,
    };
    awaited.retry.unwrap_or(unsaid)
}

/// Only the user wants to know whether the port was open all the time; who waits for a connection takes it as it is. But
/// whether a line of a one-time file is used up can be told by this alone where nothing listens behind the door.
fn look(request: &Request, awaited: Awaited, host: &Host) -> Option<Look> {
    let is_told =
        matches!(request.purpose, Purpose::Verify(_)) || matches!(request.method, Method::OneTime(_));
    is_told.then(|| Look::at(sender(request, Duration::ZERO), at_port(host.addresses(), awaited.port)))
}

/// What goes to which address of `host`. An address that this machine has no way to is passed over where another is left,
/// here as when it is sent.
fn pack<'a>(
    request: &Request,
    host: &Host,
    knock: Knock<'a>,
) -> Result<Vec<(SocketAddr, Parcel<'a>)>, Error> {
    note_missing_family(request, host);
    let packed = host.addresses().iter().map(|&address| Ok((address, knock.pack(request, address)?)));
    reachable(request, packed)
}

/// Sends what goes to each address, and says at which was knocked.
fn send(
    request: &Request,
    host: &Host,
    parcels: &[(SocketAddr, Parcel<'_>)],
    rest: Duration,
) -> Result<Vec<SocketAddr>, Error> {
    let sender = sender(request, rest);
    let sent = parcels.iter().map(|(address, parcel)| {
        let show = |step| show_knock(request, host, *address, step);
        match parcel {
            Parcel::Sequence(steps) => sender.send(*address, steps, show)?,
            Parcel::Datagram(datagram, port) => {
                show(Step { port: *port, protocol: Protocol::Udp });
                sender.send_datagram(with_port(*address, *port), datagram.as_slice())?;
            }
        }
        Ok(*address)
    });
    reachable(request, sent)
}

/// Those that there is a way to.
fn reachable<T>(
    request: &Request,
    outcomes: impl Iterator<Item = Result<T, Error>>,
) -> Result<Vec<T>, Error> {
    let mut unreached: Option<Unsent> = None;
    let mut reached = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(it) => reached.push(it),
            Err(Error::Unsent(unsent)) if unsent.has_no_way() => unreached = Some(unsent),
            Err(error) => return Err(error),
        }
    }
    match unreached {
        Some(unsent) if reached.is_empty() => return Err(unsent.into()),
        Some(unsent) => note(request, unsent),
        None => {}
    }
    Ok(reached)
}

const fn sender(request: &Request, rest: Duration) -> Sender {
    Sender { source: request.source, gap: request.gap, rest }
}

fn at_port(addresses: &[SocketAddr], port: u16) -> Vec<SocketAddr> {
    addresses.iter().map(|&address| with_port(address, port)).collect()
}

fn note_missing_family(request: &Request, host: &Host) {
    if let Some(family) = host.missing() {
        note(request, format!("\"{}\" has no {family} address", request.host));
    }
}

/// How long is waited behind which knock.
struct Rounds {
    awaited: Awaited,
    retries: u8,
    /// How long a knock takes.
    takes: Duration,
    /// How many were sent.
    knocks: u8,
    /// When the first one was.
    begin: Option<Instant>,
}

/// How long is waited behind one knock.
#[derive(Debug, PartialEq, Eq)]
struct Patience {
    time: Duration,
    is_last: bool,
}

impl Rounds {
    fn new(awaited: Awaited, retries: u8, gap: Duration, pauses: usize) -> Self {
        let takes = gap.saturating_mul(u32::try_from(pauses).unwrap_or(u32::MAX));
        Self { awaited, retries, takes, knocks: 0, begin: None }
    }

    /// What follows the knock that has been sent by `now`. None is begun that the time does not allow for.
    fn next(&mut self, now: Instant) -> Patience {
        let passed = now.saturating_duration_since(*self.begin.get_or_insert(now));
        let left = self.awaited.timeout.saturating_sub(passed);
        let pause = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(self.knocks.into()).unwrap_or(u32::MAX));
        let is_last = self.knocks >= self.retries || pause.saturating_add(self.takes) >= left;
        self.knocks = self.knocks.saturating_add(1);
        Patience { time: if is_last { left } else { pause }, is_last }
    }

    /// How long ago the first knock was sent.
    fn waited(&self) -> Duration {
        self.begin.map(|begin| begin.elapsed()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patiences(retry: u8, timeout: u64, gap: u64) -> Vec<u64> {
        let awaited = Awaited { port: 22, retry: None, timeout: Duration::from_secs(timeout) };
        let mut rounds = Rounds::new(awaited, retry, Duration::from_secs(gap), 1);
        let mut now = Instant::now();
        let mut seconds = Vec::new();
        loop {
            let patience = rounds.next(now);
            seconds.push(patience.time.as_secs());
            if patience.is_last {
                return seconds;
            }
            now += patience.time + Duration::from_secs(gap);
        }
    }

    #[test]
    fn pauses_double_and_the_last_knock_has_what_is_left() {
        assert_eq!(patiences(0, 10, 0), [10]);
        assert_eq!(patiences(2, 10, 0), [1, 2, 7]);
        assert_eq!(patiences(3, 60, 0), [1, 2, 4, 53]);
    }

    #[test]
    fn no_knock_is_begun_that_the_time_does_not_allow_for() {
        assert_eq!(patiences(10, 10, 0), [1, 2, 4, 3]);
        assert_eq!(patiences(10, 1, 0), [1]);
        assert_eq!(patiences(10, 10, 3), [1, 2, 1]);
    }
}
