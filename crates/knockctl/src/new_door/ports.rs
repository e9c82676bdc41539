//! Which ports a new door can be knocked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use knock_core::config::{Config, Door, PortRange, Secret};
use knock_core::one_time;

/// So many ports to choose from are enough: fewer, and those who know how they are chosen may guess.
const ENOUGH: usize = 4096;
/// Scanners try these first, and so do programs that look for a service.
const PRIVILEGED: u16 = 1023;
/// The kernel's own choice of ports for connections that go out, where it does not say (ip(7)).
const EPHEMERAL: (u16, u16) = (32_768, 60_999);
/// Where the sockets of this network namespace are listed (proc(5)).
const TABLES: [&str; 4] = ["/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"];

/// A set of ports, of whichever protocol.
pub(super) type Ports = BTreeSet<u16>;

/// What a sequence keeps away from.
pub(super) struct Avoided {
    /// In any case: whoever knocks there knocks at something else.
    never: Ports,
    /// If enough is left, those that matter least first.
    rather_not: Vec<Ports>,
}

impl Avoided {
    /// By this machine as it is now, with these doors, for a door that opens `opened`.
    pub(super) fn here(config: &Config, opened: &[PortRange]) -> Self {
        let mut never = in_use(TABLES.iter().filter_map(|table| fs::read_to_string(table).ok()));
        never.extend(config.doors.iter().flat_map(of_door));
        never.extend(opened.iter().flat_map(|range| range.first..=range.last));
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let (first, last) = range(&text("/proc/sys/net/ipv4/ip_local_port_range")).unwrap_or(EPHEMERAL);
        let one_time = config.doors.iter().flat_map(of_one_time_file).collect();
        let rather_not = vec![
            services(&text("/etc/services")),
            one_time,
            (first..=last).collect(),
            (1..=PRIVILEGED).collect(),
        ];
        Self { never, rather_not }
    }

    /// The ports that are left.
    pub(super) fn pool(&self) -> Vec<u16> {
        let left = |avoided: &[Ports]| {
            let is_left =
                |port: &u16| !self.never.contains(port) && !avoided.iter().any(|set| set.contains(port));
            (1..=u16::MAX).filter(is_left).collect::<Vec<_>>()
        };
        let fewer_and_fewer = (0..self.rather_not.len()).filter_map(|from| self.rather_not.get(from..));
        let mut pools = fewer_and_fewer.map(left);
        pools.find(|pool| pool.len() >= ENOUGH).unwrap_or_else(|| left(&[]))
    }
}

/// What a door listens at and opens.
fn of_door(door: &Door) -> Vec<u16> {
    let knocked = door.secret.fixed().map_or(&[][..], |sequence| sequence.steps());
    let by_datagram = door.secret.is_spa().then_some(door.spa_port);
    let opened = door.native.iter().flat_map(|native| &native.ports);
    let opened = opened.flat_map(|range| range.first..=range.last);
    knocked.iter().map(|step| step.port).chain(by_datagram).chain(opened).collect()
}

/// What is knocked at by turns; nothing where the file cannot be read.
fn of_one_time_file(door: &Door) -> Vec<u16> {
    let Secret::OneTime(path) = &door.secret else { return Vec::new() };
    let (unused, _) = one_time::read(&one_time_text(path));
    unused.iter().flat_map(|line| line.sequence.steps()).map(|step| step.port).collect()
}

/// From anything but a file one might wait for ever.
fn one_time_text(path: &Path) -> String {
    let is_file = fs::metadata(path).is_ok_and(|kind| kind.is_file());
    is_file.then(|| fs::read_to_string(path).ok()).flatten().unwrap_or_default()
}

/// The local ports of all sockets, in whatever state.
fn in_use(tables: impl Iterator<Item = String>) -> Ports {
    let port = |line: &str| {
        let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    tables.flat_map(|table| table.lines().filter_map(port).collect::<Vec<_>>()).collect()
}

/// The ports that have a name (services(5)).
fn services(text: &str) -> Ports {
    let port = |line: &str| line.split_whitespace().nth(1)?.split('/').next()?.parse().ok();
    text.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(port).collect()
}

/// `32768 60999`.
fn range(text: &str) -> Option<(u16, u16)> {
    let mut words = text.split_whitespace().map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use knock_core::config;
    use proptest::prelude::*;

    use super::*;

    fn config(text: &str) -> Config {
        config::parse("", text.as_bytes()).config.unwrap()
    }

    #[test]
    fn keeps_away_from_what_is_in_use() {
        let listener = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let in_use = [listener.local_addr().unwrap().port(), socket.local_addr().unwrap().port()];
        // Whatever is given up for lack of room.
        let mut avoided = Avoided::here(&Config::default(), &[]);
        avoided.rather_not.clear();
        let pool = avoided.pool();
        assert!(in_use.iter().all(|port| !pool.contains(port)));
        assert!(pool.len() >= ENOUGH);
    }

    #[test]
    fn keeps_away_from_other_doors() {
        let directory = lab::TempDir::new().unwrap();
        let file = directory.write("once", "#1111,2222,3333\n 4444,5555:udp,6666\n").unwrap();
        let config = config(&format!(
            "[a]\nsequence = 7142,8319:udp,15623\nopen = 2222/tcp,20000-20999/udp\n\
             [b]\none_time_sequences = {}\ncommand = true\n",
            file.display()
        ));
        let opened = PortRange { protocol: knock_core::knock::Protocol::Tcp, first: 3389, last: 3390 };
        let pool = Avoided::here(&config, &[opened]).pool();
        let avoided = [7142, 8319, 15_623, 2222, 20_000, 20_999, 3389, 3390, 4444, 5555, 6666];
        assert_eq!(avoided.iter().filter(|port| pool.contains(port)).count(), 0);
    }

    #[test]
    fn reads_services() {
        let read = services("# 1 2/tcp\nhttp-alt 8080/tcp webcache # remark\nrubbish\nx y/tcp\n");
        assert_eq!(read.into_iter().collect::<Vec<_>>(), [8080]);
        assert_eq!(range("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(range("x"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn gives_up_what_matters_least_where_too_little_is_left(
            never in proptest::collection::btree_set(any::<u16>(), 0..50),
            bounds in proptest::collection::vec(any::<(u16, u16)>(), 1..4),
        ) {
            let sets: Vec<Ports> = bounds.iter().map(|(a, b)| (*a.min(b)..=*a.max(b)).collect()).collect();
            let avoided = Avoided { never: never.clone(), rather_not: sets.clone() };
            let pool = avoided.pool();
            prop_assert!(pool.len() >= ENOUGH);
            prop_assert!(!pool.contains(&0) && !pool.iter().any(|port| never.contains(port)));
            // With the last set heeded, the ones before it are given up only for lack of room.
            let heeds = |set: &Ports| !pool.iter().any(|port| set.contains(port));
            let heeded: Vec<_> = sets.iter().map(heeds).collect();
            let first = (0..sets.len()).find(|from| heeded[*from..].iter().all(|is| *is)).unwrap_or(sets.len());
            if let Some(before) = first.checked_sub(1) {
                let tighter = (1..=u16::MAX).filter(|port| {
                    !never.contains(port) && !sets[before..].iter().any(|set| set.contains(port))
                });
                prop_assert!(tighter.count() < ENOUGH);
            }
        }
    }
}
