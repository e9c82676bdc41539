//! From the last knock to the open port.

use std::hint;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use knock_core::config::{DEFAULT_MARK, Established, Native, PortRange, Widen};
use knock_core::knock::Protocol;
use knock_core::network::Network;
use knock_firewall::{Change, Element, Gate, Layout, Table};
use lab::{Host, Lab};

use crate::THEIRS;
use crate::machine;
use crate::prober::{PORT, Prober, Race};
use crate::processors::{End, stay_at};
use crate::sample::{Samples, tell};
use crate::scratch::Scratch;
use crate::seed;
use crate::server::{self, SOON, Server};

/// How long a native door stays open here.
const OPEN_FOR: Duration = Duration::from_secs(1);

/// The port of a thread that waits to be woken.
const BELL: u16 = 4023;

/// One way to open a port, and how long it took each time.
struct Contender {
    name: String,
    way: Way,
    samples: Samples,
}

enum Way {
    /// A daemon, to be knocked at.
    Knock(Server),
    /// A netlink message, sent by this process.
    Element(Bare),
    /// The same, by a thread that a datagram wakes.
    Woken(Bare),
    /// The command, run by this process.
    Command(Lab, Prober),
    /// It is open already: what the prober itself takes.
    Open(Lab, Prober),
}

impl Contender {
    fn new(name: &str, way: Way) -> Self {
        Self { name: name.to_owned(), way, samples: Samples::default() }
    }

    fn race(&mut self) -> io::Result<(IpAddr, Race)> {
        match &mut self.way {
            Way::Knock(server) => server.open_one(),
            Way::Element(bare) => bare.open_one(OPEN_FOR),
            Way::Woken(bare) => bare.open_woken(OPEN_FOR),
            Way::Command(lab, prober) => run_command(lab.server(), prober),
            Way::Open(lab, prober) => {
                let source = prober.fresh_source();
                lab.server().sh(&server::start_command(source))?;
                let frame = prober.knock(source, 9623, false);
                machine::rest();
                Ok((source, prober.race(source, SOON, || prober.send(&frame))?))
            }
        }
    }

    fn close(&self, source: IpAddr) -> io::Result<()> {
        match &self.way {
            Way::Knock(server) => server.wait_until_shut(source),
            Way::Element(_) | Way::Woken(_) => Ok(()),
            Way::Command(lab, _) | Way::Open(lab, _) => {
                let open = server::start_command(source);
                lab.server().sh(&open.replace(" -I ", " -D ")).map(drop)
            }
        }
    }
}

/// Measures and prints.
pub(crate) fn run(quick: bool) -> io::Result<()> {
    let rounds = if quick { 2 } else { 100 };
    let mut contenders = contenders()?;
    let mut gaps = Samples::default();
    for round in 0..rounds {
        let mut opened = Vec::new();
        // Another one begins each time.
        let count = contenders.len();
        for index in (0..count).map(|index| (index + round) % count) {
            let Some(contender) = contenders.get_mut(index) else { continue };
            let (source, race) =
                contender.race().map_err(|error| io::Error::other(format!("{}: {error}", contender.name)))?;
            contender.samples.add(race.time);
            gaps.add(race.gap);
            opened.push((index, source));
        }
        for (index, source) in opened {
            contenders.get(index).map_or(Ok(()), |contender| contender.close(source))?;
        }
    }
    print(&contenders, &gaps);
    Ok(())
}

fn contenders() -> io::Result<Vec<Contender>> {
    let ours = lab::binary("knockd")?;
    let (disk, memory) = (Scratch::on_disk()?, Scratch::in_memory()?);
    let (on_disk, in_memory) = (disk.kind(), memory.kind());
    let start = |program: &Path, is_ours, door: &str, files| {
        Server::start(program, is_ours, door, files).map(Way::Knock)
    };
    let (native, commands) = (server::native(OPEN_FOR), server::commands());
    let (command_lab, open_lab) = (server::firewalled()?, server::firewalled()?);
    let (command_prober, open_prober) = (Prober::new(&command_lab)?, Prober::new(&open_lab)?);
    let theirs = start(Path::new(THEIRS), false, &commands, Scratch::on_disk()?)?;
    Ok(vec![
        Contender::new("Debian's knockd, iptables", theirs),
        Contender::new(
            &format!("ours, iptables, journal on {on_disk}"),
            start(&ours, true, &commands, Scratch::on_disk()?)?,
        ),
        Contender::new(
            &format!("ours, iptables, journal on {in_memory}"),
            start(&ours, true, &commands, Scratch::in_memory()?)?,
        ),
        Contender::new("`sh -c iptables ...` alone", Way::Command(command_lab, command_prober)),
        Contender::new(&format!("ours, native, journal on {on_disk}"), start(&ours, true, &native, disk)?),
        Contender::new(
            &format!("ours, native, journal on {in_memory}"),
            start(&ours, true, &native, memory)?,
        ),
        Contender::new("one netlink element, by a thread that is woken for it", Way::Woken(Bare::new(0)?)),
        Contender::new("one netlink element alone", Way::Element(Bare::new(0)?)),
        Contender::new("already open", Way::Open(open_lab, open_prober)),
    ])
}

fn print(contenders: &[Contender], gaps: &Samples) {
    let Some(theirs) = contenders.first() else { return };
    println!("| | median | p10 .. p90 | runs | Debian's takes so many times as long | p10 .. p90 |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for Contender { name, samples, .. } in contenders {
        println!("| {name} | {} | {} |", samples.cells(), theirs.samples.times(samples));
    }
    println!("\nBetween two probes: {} (median).\n", tell(gaps.median()));
}

fn run_command(host: &Host, prober: &Prober) -> io::Result<(IpAddr, Race)> {
    let source = prober.fresh_source();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &server::start_command(source)]).stdin(Stdio::null());
    let race = race_with(host, prober, source, || {
        if command.status()?.success() { Ok(()) } else { Err(io::Error::other("iptables has failed")) }
    })?;
    Ok((source, race))
}

/// Our table on a server without a daemon.
pub(crate) struct Bare {
    lab: Lab,
    prober: Prober,
    table: Table,
}

impl Bare {
    /// With so many grants in it.
    pub(crate) fn new(grants: u32) -> io::Result<Self> {
        let lab = server::firewalled()?;
        let prober = Prober::new(&lab)?;
        lab.server().sh(&format!("iptables -I INPUT -p udp --dport {BELL} -j ACCEPT"))?;
        let mut table = lab.server().run(Table::open).map_err(io::Error::other)?;
        let door = seed::door();
        let addresses = (0..grants).map(seed::address);
        let element =
            |address| Element { door: &door, network: Network::host(address), left: Some(seed::LASTS) };
        table.replace(&layout(), &addresses.map(element).collect::<Vec<_>>()).map_err(io::Error::other)?;
        Ok(Self { lab, prober, table })
    }

    /// Lets in one more, by a thread that waits for it without sleeping.
    pub(crate) fn open_one(&mut self, left: Duration) -> io::Result<(IpAddr, Race)> {
        let Self { lab, prober, table } = self;
        let (source, door) = (prober.fresh_source(), seed::door());
        let element = Element { door: &door, network: Network::host(source), left: Some(left) };
        if prober.lets_in(source)? {
            return Err(io::Error::other(format!("{source} is let in without an element")));
        }
        let race = race_with(lab.server(), prober, source, || {
            table.apply(&[Change::Open(element)]).map_err(io::Error::other)
        })?;
        Ok((source, race))
    }

    /// Lets in one more; how long the kernel's answer took.
    pub(crate) fn time_one(&mut self, left: Duration) -> io::Result<Duration> {
        let Self { lab, prober, table } = self;
        let (source, door) = (prober.fresh_source(), seed::door());
        let element = Element { door: &door, network: Network::host(source), left: Some(left) };
        machine::rest();
        lab.server().run(|| {
            let begin = Instant::now();
            table.apply(&[Change::Open(element)]).map_err(io::Error::other)?;
            Ok(begin.elapsed())
        })
    }

    /// Lets in one more, by a thread that sleeps until a datagram comes, as a daemon does.
    fn open_woken(&mut self, left: Duration) -> io::Result<(IpAddr, Race)> {
        let Self { lab, prober, table } = self;
        let server = lab.server();
        let (source, door) = (prober.fresh_source(), seed::door());
        let element = Element { door: &door, network: Network::host(source), left: Some(left) };
        let bell = server.run(|| UdpSocket::bind(server.at4(BELL)))?;
        bell.set_read_timeout(Some(SOON))?;
        let race = thread::scope(|scope| {
            let opener = scope.spawn(|| {
                server.enter();
                stay_at(End::Server);
                bell.recv(&mut [0])?;
                table.apply(&[Change::Open(element)]).map_err(io::Error::other)
            });
            machine::rest();
            let ring = prober.knock(source, BELL, true);
            let race = prober.race(source, SOON, || prober.send(&ring));
            opener.join().unwrap_or_else(|_| Err(io::Error::other("the opener has panicked")))?;
            race
        })?;
        Ok((source, race))
    }
}

fn layout() -> Layout {
    let native = Native {
        ports: vec![PortRange { protocol: Protocol::Udp, first: PORT, last: PORT }],
        open_for: None,
        established: Established::Keep,
        widen: Widen::default(),
    };
    let gate = Gate { door: seed::door(), native, target: None };
    Layout { gates: vec![gate], mark: DEFAULT_MARK, guard: true }
}

/// Races against `open`, which another thread does on the server as soon as the race begins.
fn race_with(
    host: &Host,
    prober: &Prober,
    source: IpAddr,
    open: impl FnOnce() -> io::Result<()> + Send,
) -> io::Result<Race> {
    machine::rest();
    let (ready, go) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let opener = scope.spawn(|| {
            host.enter();
            stay_at(End::Server);
            ready.store(true, Ordering::Release);
            wait_for(&go);
            open()
        });
        wait_for(&ready);
        let race = prober.race(source, SOON, || {
            go.store(true, Ordering::Release);
            Ok(())
        });
        opener.join().unwrap_or_else(|_| Err(io::Error::other("the opener has panicked")))?;
        race
    })
}

/// Without sleeping: to be woken takes longer than what is measured.
fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        hint::spin_loop();
    }
}
