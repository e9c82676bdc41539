//! What came of a knock, in words: how long the port took to open, or why it may not have.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use knock_core::rolling::STEP;
use knock_core::spa::WINDOW;

use crate::one_time::Place;
use crate::opening::{Answer, Before, Connection};
use crate::request::{Awaited, Method, Purpose, Request};
use crate::resolve::{Family, Host};
use crate::send::Sender;

/// The port is open.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The connection that shows it.
    pub(crate) connection: Connection,
    /// How long after the last knock it was made.
    pub(crate) after: Duration,
    /// How many knocks were sent.
    pub(crate) knocks: u8,
    /// What the port was before, where that was looked at.
    pub(crate) before: Option<Before>,
}

/// The port did not open in time.
#[derive(Debug)]
pub(crate) struct Unopened {
    targets: Vec<SocketAddr>,
    answer: Answer,
    before: Option<Before>,
    knocks: u8,
    waited: Duration,
    hints: Vec<String>,
}

impl Opened {
    /// Why this says nothing about the knock.
    pub(crate) fn doubt(&self) -> Option<&'static str> {
        (self.before == Some(Before::Open)).then_some(
            "the port was open before the knock, too: from an earlier one, or because it is behind no door; \
             so this does not show that the knock was heard",
        )
    }
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peer, after, knocks) = (self.connection.peer, seconds(self.after), Knocks(self.knocks));
        write!(f, "{peer} is open, {after} after {knocks}")
    }
}

impl Unopened {
    /// That `targets` did not open, and `answer` was met there.
    pub(crate) fn new(
        request: &Request,
        host: &Host,
        targets: Vec<SocketAddr>,
        answer: Answer,
        knocks: u8,
        waited: Duration,
        before: Option<Before>,
    ) -> Self {
        let hints = hints(request, host, &targets);
        Self { targets, answer, before, knocks, waited, hints }
    }

    /// Whether it was the door that opened, and something else that is missing.
    pub(crate) fn has_an_open_door(&self) -> bool {
        matches!((&self.answer, self.before), (Answer::Refusal, Some(Before::Silent)))
    }

    /// Adds that the line of a one-time file at `place` can be knocked again.
    pub(crate) fn with_unused(mut self, place: &Place) -> Self {
        self.hints.push(format!(
            "{place}: the line stays unused, for the next knock; \
             if the server has used it, write # over its first character"
        ));
        self
    }
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        if self.has_an_open_door() {
            return write!(
                f,
                "{at} refuses connections now, and did not answer before the knock: the door seems to be open, \
                 but nothing listens on the port"
            );
        }
        match &self.answer {
            Answer::NoWay(error) => return write!(f, "{at} cannot be reached: {error}"),
            Answer::Refusal => {
                let as_before =
                    if self.before == Some(Before::Refusing) { ", as before the knock" } else { "" };
                write!(
                    f,
                    "{at} did not open: it refuses connections{as_before}; nothing listens there, or the door is shut"
                )?;
            }
            Answer::Silence => {
                let (waited, knocks) = (seconds(self.waited), Knocks(self.knocks));
                write!(f, "{at} did not open: no answer for {waited} after {knocks}")?;
            }
        }
        self.hints.iter().try_for_each(|hint| write!(f, "\n  - {hint}"))
    }
}

/// What may be wrong, and what to try, the likeliest first. Between ssh and its server there is place for one line.
fn hints(request: &Request, host: &Host, targets: &[SocketAddr]) -> Vec<String> {
    let own = targets.first().and_then(|target| sender(request).own_address(*target).ok());
    let explain = own.map(|own| explain(own, targets));
    let Purpose::Verify(awaited) = request.purpose else { return explain.into_iter().collect() };
    [overtaken(request, awaited), family(host), Some(other_side(request))]
        .into_iter()
        .chain([translation(own, targets), explain])
        .flatten()
        .collect()
}

const fn sender(request: &Request) -> Sender {
    Sender { source: request.source, gap: Duration::ZERO, rest: Duration::ZERO }
}

fn overtaken(request: &Request, awaited: Awaited) -> Option<String> {
    if request.gap.is_zero() && !matches!(request.method, Method::Signed(_)) {
        return Some(
            "the knocks left all at once, and may have overtaken each other: try --delay 100".into(),
        );
    }
    (awaited.retry.unwrap_or(0) == 0).then(|| "a knock may have been lost: try --retry 3".into())
}

fn family(host: &Host) -> Option<String> {
    let left_out = host.left_out()?;
    let option = if left_out == Family::V4 { "-4" } else { "-6" };
    Some(format!("the host has an {left_out} address, too, where its door may be: try {option}, or --both"))
}

fn other_side(request: &Request) -> String {
    match &request.method {
        Method::Sequence(_) => "the sequence may be another by now, or another door's".into(),
        Method::OneTime(_) => "the server may wait for another line of the one-time file".into(),
        Method::Rolling(_) => format!(
            "the clocks may differ by more than {0} s, or the sequence of these {0} s has opened the door before: it does so \
             once",
            STEP.as_secs()
        ),
        Method::Signed(signed) => format!(
            "the server's door \"{}\" may not know the key (-v shows which), or the clocks differ by more than {} s",
            signed.door,
            WINDOW.as_secs()
        ),
    }
}

fn translation(own: Option<IpAddr>, targets: &[SocketAddr]) -> Option<String> {
    let own = own.filter(|own| is_translated(*own, targets))?;
    Some(format!(
        "the server does not see this machine's address, {own}, but one that others may share; \
         the door must open for the very address that the connection comes from"
    ))
}

fn explain(own: IpAddr, targets: &[SocketAddr]) -> String {
    let shown = if is_translated(own, targets) { "ADDRESS".to_owned() } else { own.to_string() };
    format!("on the server, `knockctl explain {shown}` tells what became of the knock")
}

fn is_translated(own: IpAddr, targets: &[SocketAddr]) -> bool {
    is_private(own) && !targets.iter().all(|target| is_private(target.ip()))
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let is_shared = matches!(v4.octets(), [100, 64..=127, ..]);
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

/// How many knocks it took.
struct Knocks(u8);

impl fmt::Display for Knocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("the knock"),
            knocks => write!(f, "the last of {knocks} knocks"),
        }
    }
}

/// In the unit in which it can be read.
fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn unopened(answer: Answer, before: Option<Before>) -> Unopened {
        let targets = vec!["192.0.2.1:22".parse().unwrap()];
        let waited = Duration::from_millis(9_960);
        Unopened { targets, answer, before, knocks: 1, waited, hints: vec!["try this".into()] }
    }

    #[test]
    fn says_what_was_met() {
        let cases = [
            (
                Answer::Silence,
                Some(Before::Silent),
                "did not open: no answer for 10.0 s after the knock\n  - try",
            ),
            (Answer::Refusal, Some(Before::Refusing), "it refuses connections, as before the knock; nothing"),
            (
                Answer::Refusal,
                None,
                "it refuses connections; nothing listens there, or the door is shut\n  - try",
            ),
            (
                Answer::Refusal,
                Some(Before::Silent),
                "refuses connections now, and did not answer before the knock",
            ),
            (
                Answer::NoWay(io::ErrorKind::HostUnreachable.into()),
                None,
                "cannot be reached: host unreachable",
            ),
        ];
        for (answer, before, part) in cases {
            let text = unopened(answer, before).to_string();
            assert!(text.starts_with("192.0.2.1:22 ") && text.contains(part), "{text}");
        }
    }

    #[test]
    fn an_address_is_translated_on_the_way_out_of_a_private_network() {
        let own = "192.168.1.2".parse().unwrap();
        let target = |text: &str| [text.parse().unwrap()];
        assert!(is_translated(own, &target("203.0.113.1:22")));
        assert!(!is_translated(own, &target("10.0.0.1:22")));
        assert!(!is_translated("203.0.113.9".parse().unwrap(), &target("203.0.113.1:22")));
    }

    #[test]
    fn times_are_short_to_read() {
        assert_eq!(seconds(Duration::from_micros(12_900)), "12 ms");
        assert_eq!(seconds(Duration::from_millis(1_250)), "1.2 s");
    }
}
