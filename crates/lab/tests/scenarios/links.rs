//! Interfaces that come, go and change under the daemon: a knock sent a second later is heard.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab::{Daemon, Host, connect};

use crate::support::{SOON, count, heard_after, start};

const CLIENT: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(10, 9, 1, 1), Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 1, 1));
const SERVER: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(10, 9, 0, 1), Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1));
/// The server's hardware address: known to the client, so that nothing waits for an answer of a new interface's.
const HARDWARE: &str = "02:00:00:00:09:01";
/// How long after a change a knock may still go unheard.
const HEALED: Duration = Duration::from_secs(1);

/// A server that comes without a cable, and who is to knock at it.
struct Site {
    client: Host,
    server: Host,
}

impl Site {
    fn new() -> io::Result<Self> {
        Ok(Self { client: Host::new("client")?, server: Host::new("server")? })
    }

    fn plugged() -> io::Result<Self> {
        let mut site = Self::new()?;
        site.plug()?;
        Ok(site)
    }

    /// A cable between both `eth0`, which have their addresses and are up.
    fn plug(&mut self) -> io::Result<()> {
        connect(&self.client, "eth0", &self.server, "eth0")?;
        self.server.ip(&format!("link set eth0 address {HARDWARE}"))?;
        self.client.assign("eth0", CLIENT.0, CLIENT.1)?;
        self.server.assign("eth0", SERVER.0, SERVER.1)?;
        self.meet(SERVER.0.into())?;
        self.meet(SERVER.1.into())
    }

    /// Tells the client where an address of the server is.
    fn meet(&self, address: IpAddr) -> io::Result<()> {
        self.client.ip(&format!("neigh replace {address} lladdr {HARDWARE} dev eth0 nud permanent"))?;
        Ok(())
    }

    fn knockd(&self, interface: &str) -> io::Result<Daemon> {
        let config = format!(
            "[options]\nlogfile = {{dir}}/knockd.log\ninterface = {interface}\n\
             [door]\nsequence = 7142,8319\ncommand = echo %IP% >> {{dir}}/ran\n"
        );
        start(&self.server, &config)
    }

    fn assert_heals(&self, since: Instant, daemon: &Daemon, address: impl Into<IpAddr>) -> io::Result<()> {
        let address = address.into();
        let healed = heard_after(since, daemon, || self.client.knock(address, "7142,8319"))?;
        assert!(healed <= HEALED, "knocks at {address} were heard after {healed:?} only");
        Ok(())
    }
}

#[test]
fn interface_comes_after_the_daemon() -> io::Result<()> {
    let mut site = Site::new()?;
    let daemon = site.knockd("eth0")?;
    daemon.wait_for_log("eth0: no such interface yet, waiting for it", SOON)?;
    site.plug()?;
    site.assert_heals(Instant::now(), &daemon, SERVER.0)?;
    site.assert_heals(Instant::now(), &daemon, SERVER.1)?;
    daemon.wait_for_log("eth0: the interface is there, listening", SOON)
}

#[test]
fn interface_is_deleted_and_made_again() -> io::Result<()> {
    let mut site = Site::plugged()?;
    let daemon = site.knockd("eth0")?;
    site.assert_heals(Instant::now(), &daemon, SERVER.0)?;
    for times in 1..=3 {
        site.server.ip("link delete eth0")?;
        daemon.wait_for_lines(times, "eth0: the interface is gone, waiting for it", SOON)?;
        site.plug()?;
        site.assert_heals(Instant::now(), &daemon, SERVER.0)?;
        daemon.wait_for_lines(times, "eth0: the interface is there, listening", SOON)?;
    }
    Ok(())
}

/// So quickly that the daemon sees but the end of it.
#[test]
fn interface_is_made_again_at_once() -> io::Result<()> {
    let mut site = Site::plugged()?;
    let daemon = site.knockd("eth0")?;
    for _ in 0..3 {
        site.server.ip("link delete eth0")?;
        site.plug()?;
        site.assert_heals(Instant::now(), &daemon, SERVER.0)?;
    }
    Ok(())
}

#[test]
fn address_is_added_and_changed() -> io::Result<()> {
    let site = Site::plugged()?;
    let daemon = site.knockd("eth0")?;
    let added: [(IpAddr, &str); 2] = [
        (Ipv4Addr::new(10, 9, 0, 77).into(), "10.9.0.77/16"),
        (Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 0x77).into(), "fd09::77/64 nodad"),
    ];
    for (address, text) in added {
        site.meet(address)?;
        let (text, flag) = text.split_once(' ').unwrap_or((text, ""));
        site.server.ip(&format!("addr add {text} dev eth0 {flag}"))?;
        site.assert_heals(Instant::now(), &daemon, address)?;
        daemon.wait_for_log(&format!("eth0: the address {address} is there"), SOON)?;
    }
    site.server.ip("addr del 10.9.0.1/16 dev eth0\naddr add 10.9.0.78/16 dev eth0")?;
    let changed = Ipv4Addr::new(10, 9, 0, 78);
    site.meet(changed.into())?;
    site.assert_heals(Instant::now(), &daemon, changed)?;
    daemon.wait_for_log("eth0: the address 10.9.0.1 is gone", SOON)?;
    // What the old address gets is no knock any more.
    let mark = daemon.mark();
    site.client.knock(SERVER.0.into(), "7142,8319")?;
    site.assert_heals(Instant::now(), &daemon, changed)?;
    let stages = daemon.lines()[mark..].iter().filter(|line| line.text.contains("Stage 1")).count();
    let openings = daemon.lines()[mark..].iter().filter(|line| line.text.contains("OPEN SESAME")).count();
    assert_eq!((stages, openings), (1, 1), "{}", daemon.text());
    Ok(())
}

#[test]
fn interface_gets_the_name_that_is_waited_for() -> io::Result<()> {
    let site = Site::plugged()?;
    let daemon = site.knockd("lan0")?;
    for (from, to) in [("eth0", "lan0"), ("lan0", "eth0"), ("eth0", "lan0")] {
        site.server.ip(&format!("link set {from} down\nlink set {from} name {to}\nlink set {to} up"))?;
        if to == "lan0" {
            site.assert_heals(Instant::now(), &daemon, SERVER.0)?;
        } else {
            daemon.wait_for_line("the interface is gone, waiting for it", SOON)?;
            let before = count(&daemon, "Stage");
            site.client.knock(SERVER.0.into(), "7142,8319")?;
            assert_eq!(count(&daemon, "Stage"), before);
        }
    }
    daemon.wait_for_lines(2, "lan0: the interface is there, listening", SOON)
}

#[test]
fn interface_goes_down_and_up() -> io::Result<()> {
    let site = Site::plugged()?;
    let daemon = site.knockd("eth0")?;
    site.server.ip("link set eth0 down")?;
    daemon.wait_for_log("eth0: the interface is down", SOON)?;
    site.server.ip("link set eth0 up")?;
    site.assert_heals(Instant::now(), &daemon, SERVER.0)?;
    daemon.wait_for_log("eth0: the interface is up", SOON)
}

/// A routing daemon that changes thousands of routes does not keep knocks from being heard, nor changes of the
/// interface from being seen.
#[test]
fn flood_of_route_changes() -> io::Result<()> {
    let site = Site::plugged()?;
    let daemon = site.knockd("eth0")?;
    let routes = |verb: &str| -> String {
        let route = |number: u32| {
            format!("route {verb} 10.{}.{}.0/24 via 10.9.1.1\n", 100 + number / 256, number % 256)
        };
        (0..5_000).map(route).collect()
    };
    let (add, del) = (routes("add"), routes("del"));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                site.server.ip(&add)?;
                site.server.ip(&del)?;
                rounds += 1;
            }
            io::Result::Ok(rounds)
        });
        let outcome = (|| {
            for last in 50..60 {
                site.server.ip(&format!("addr add 10.9.0.{last}/16 dev eth0"))?;
                let address = Ipv4Addr::new(10, 9, 0, last);
                site.meet(address.into())?;
                site.assert_heals(Instant::now(), &daemon, address)?;
            }
            Ok(())
        })();
        over.store(true, Ordering::Relaxed);
        let rounds = flood.join().unwrap_or(Ok(0))?;
        assert!(rounds > 0, "there was no flood");
        outcome
    })
}
