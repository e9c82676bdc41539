//! The laboratory does what its instruments say.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use lab::{
    Capture, Daemon, Extension, Frame, Host, Lab, PortState, Protocol, Sender, Service, Session, Signal,
    TcpFlags,
};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn hosts_talk_over_both_families() -> io::Result<()> {
    let lab = Lab::pair()?;
    let service = Service::start(lab.server(), 22)?;
    for target in [lab.server().at4(22), lab.server().at6(22)] {
        let mut session = Session::open(lab.client(), target)?;
        session.echo("hello")?;
        session.echo("again")?;
    }
    assert_eq!(service.accepted(), 2);
    Ok(())
}

#[test]
fn a_session_outlives_what_happens_to_new_connections() -> io::Result<()> {
    let lab = Lab::pair()?;
    let _service = Service::start(lab.server(), 22)?;
    // The rules come first: the kernel only knows as established what it has followed from the beginning.
    let server = lab.server();
    server.nft(
        "table inet filter {
            set allowed { type inet_service; elements = { 22 }; }
            chain input {
                type filter hook input priority filter; policy drop;
                ct state established,related accept
                tcp dport @allowed accept
            }
        }",
    )?;
    let mut session = Session::open(lab.client(), server.at4(22))?;
    server.nft("flush set inet filter allowed")?;
    assert_eq!(lab.client().probe(server.at4(22)), PortState::Filtered);
    session.echo("still here")
}

#[test]
fn ports_are_open_closed_or_filtered() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (client, server) = (lab.client(), lab.server());
    let service = Service::start(server, 22)?;
    server.nft(
        "table inet filter {
            chain input {
                type filter hook input priority filter;
                tcp dport 23 drop
                tcp dport 24 reject with tcp reset
            }
        }",
    )?;
    for at in [Host::at4, Host::at6] {
        let states = [22, 23, 24, 25].map(|port| client.probe(at(server, port)));
        assert_eq!(states, [PortState::Open, PortState::Filtered, PortState::Closed, PortState::Closed]);
    }
    client.wait_until_open(server.at4(22), SOON)?;
    drop(service);
    client.wait_until_closed(server.at4(22), SOON)
}

#[test]
fn many_clients_reach_the_server_and_each_other() -> io::Result<()> {
    let lab = Lab::with_clients(3)?;
    let _service = Service::start(lab.server(), 22)?;
    for client in lab.clients() {
        let session = Session::open(client, lab.server().at4(22))?;
        assert_eq!(session.local_addr()?.ip(), client.ip4());
        Session::open(client, lab.server().at6(22))?;
    }
    assert_eq!(lab.client().probe(lab.clients()[2].at4(80)), PortState::Closed);
    Ok(())
}

#[test]
fn a_client_knocks_from_any_of_its_addresses_in_order() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (client, server) = (lab.client(), lab.server());
    client.ip("addr add 10.9.9.9/16 dev eth0")?;
    let capture = Capture::open(server, "eth0")?;
    client.knock(server.ip4(), "7000,8000:udp 9000:tcp")?;
    let other: IpAddr = [10, 9, 9, 9].into();
    client.knock_from(Some(other), server.ip4(), "7001", Duration::ZERO)?;
    client.knock(server.ip6(), "7002:udp,7003")?;
    let seen = capture.wait_for_count(6, SOON)?;
    let list: Vec<_> = seen.iter().map(ToString::to_string).collect();
    let expected = [
        "tcp 10.9.0.1:7000 SYN",
        "udp 10.9.0.1:8000",
        "tcp 10.9.0.1:9000 SYN",
        "tcp 10.9.0.1:7001 SYN",
        "udp [fd09::1]:7002",
        "tcp [fd09::1]:7003 SYN",
    ];
    assert_eq!(list, expected);
    assert_eq!(seen[0].source.ip(), client.ip4());
    assert_eq!(seen[3].source.ip(), other);
    assert!(client.knock(server.ip4(), "7000:sctp").is_err());
    Ok(())
}

#[test]
fn frames_arrive_as_they_were_made() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (client, server) = (lab.client(), lab.server());
    let sender = Sender::open(client, "eth0", server, "eth0")?;
    let capture = Capture::open(server, "eth0")?;
    let flags = TcpFlags::FIN | TcpFlags::URG | TcpFlags::PSH;
    let frames = [
        Frame::tcp(client.at4(1234), server.at4(7000)).flags(flags).payload("x"),
        Frame::udp(client.at4(1234), server.at4(7001)).vlan(5).payload("tagged"),
        Frame::tcp(client.at6(1234), server.at6(7002)).service_vlan(6).vlan(7),
        Frame::udp(client.at6(1234), server.at6(7003))
            .extension(Extension::HopByHop(1))
            .extension(Extension::DestinationOptions(2)),
        Frame::tcp(client.at4(1234), server.at4(7004)).ip_options(&[1, 1]),
    ];
    for frame in &frames {
        sender.send(frame)?;
    }
    let seen = capture.wait_for_count(frames.len(), SOON)?;
    let (from, to) = sender.hardware_addresses();
    for (frame, seen) in frames.iter().zip(&seen) {
        assert_eq!(seen.frame, frame.bytes(from, to));
    }
    assert_eq!(seen[0].to_string(), "tcp 10.9.0.1:7000 FIN|PSH|URG \"x\"");
    assert_eq!((seen[1].vlans.as_slice(), seen[1].protocol), ([5].as_slice(), Protocol::Udp));
    assert_eq!(seen[2].vlans, [6, 7]);
    Ok(())
}

/// A socket of the receiving host accepts what the builder makes: the kernel finds nothing wrong with it.
#[test]
fn the_kernel_takes_built_datagrams() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (client, server) = (lab.client(), lab.server());
    let sender = Sender::open(client, "eth0", server, "eth0")?;
    let socket = server.run(|| UdpSocket::bind("[::]:7000"))?;
    socket.set_read_timeout(Some(SOON))?;
    let mut buffer = [0; 100];
    let mut arrives = |expected: &[u8]| -> io::Result<()> {
        let (length, _) = socket.recv_from(&mut buffer)?;
        assert_eq!(&buffer[..length], expected);
        Ok(())
    };

    let all = [
        Extension::HopByHop(2),
        Extension::Routing(1),
        Extension::DestinationOptions(2),
        Extension::AtomicFragment,
    ];
    let plain6 = Frame::udp(client.at6(9), server.at6(7000)).payload("six");
    sender.send(&all.into_iter().fold(plain6.clone(), Frame::extension))?;
    arrives(b"six")?;
    sender.send(&Frame::udp(client.at4(9), server.at4(7000)).ip_options(&[1; 8]).payload("four"))?;
    arrives(b"four")?;
    let long = [b'l'; 50];
    sender.send_fragments(&Frame::udp(client.at4(9), server.at4(7000)).payload(long), 16)?;
    arrives(&long)?;
    sender.send_fragments(&plain6.payload(long).extension(Extension::DestinationOptions(1)), 24)?;
    arrives(&long)
}

#[test]
fn a_built_syn_gets_its_answer() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (client, server) = (lab.client(), lab.server());
    let sender = Sender::open(client, "eth0", server, "eth0")?;
    let capture = Capture::open(client, "eth0")?;
    sender.send(&Frame::tcp(client.at4(1234), server.at4(7000)).numbers(41, 0))?;
    sender.send(&Frame::tcp(client.at6(1234), server.at6(7000)))?;
    let seen = capture.wait_for_count(2, SOON)?;
    assert_eq!(seen[0].to_string(), "tcp 10.9.1.1:1234 RST|ACK");
    assert_eq!(seen[1].to_string(), "tcp [fd09::1:1]:1234 RST|ACK");
    Ok(())
}

#[test]
fn programs_run_in_their_host_and_end_with_their_guard() -> io::Result<()> {
    let host = Host::new("alone")?;
    assert_eq!(host.sh("ip -o link | wc -l")?.trim(), "1");
    let error = host.sh("echo out; echo err >&2; false").unwrap_err().to_string();
    assert!(error.contains("out\nerr"), "{error}");

    let mut sleeper = host.spawn(Command::new("sleep").arg("1000"))?;
    assert!(sleeper.exited()?.is_none());
    assert_eq!(sleeper.wait_exit(Duration::ZERO).unwrap_err().kind(), io::ErrorKind::TimedOut);
    sleeper.signal(Signal::TERM)?;
    assert!(!sleeper.wait_exit(SOON)?.success());

    let guarded = host.spawn(Command::new("sleep").arg("1000"))?;
    let proc = format!("/proc/{}", guarded.id());
    drop(guarded);
    assert!(!std::path::Path::new(&proc).exists());
    assert!(host.spawn(&mut Command::new("/no/such/program")).is_err());
    Ok(())
}

#[test]
fn a_panic_inside_a_host_is_the_tests_own() {
    let host = Host::new("alone").unwrap();
    let outcome = std::panic::catch_unwind(|| host.run(|| panic!("inside")));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"inside"));
}

/// A shell script that behaves as the daemon does, so that this needs no daemon.
fn pretender(directory: &lab::TempDir) -> io::Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let script = "#!/bin/sh
trap 'echo reloaded; cat \"$3\"' HUP
trap 'echo closing; exit 3' TERM
echo \"listening on $4\"
echo warning >&2
cat \"$3\"
echo logged > \"$LAB_DIR/knockd.log\"
while :; do sleep 0.1; done
";
    let path = directory.write("pretender", script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

#[test]
fn a_daemon_is_started_watched_reloaded_and_ended() -> io::Result<()> {
    let directory = lab::TempDir::new()?;
    let host = Host::new("alone")?;
    let mut daemon =
        Daemon::of(pretender(&directory)?).config("first in {dir}\n").arg("in {dir}").start(&host)?;
    let own = daemon.directory().path().display().to_string();
    daemon.wait_for_line(&format!("first in {own}"), SOON)?;
    daemon.wait_for_line(&format!("listening on in {own}"), SOON)?;
    assert_eq!(daemon.wait_for_line("warning", SOON)?.stream, lab::Stream::Err);
    daemon.wait_for_log("logged", SOON)?;

    let mark = daemon.mark();
    daemon.write_config("second\n")?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_line_after(mark, "second", SOON)?;
    let error = daemon.wait_for_line("third", Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("second"), "{error}");

    daemon.signal(Signal::TERM)?;
    assert_eq!(daemon.wait_exit(SOON)?.code(), Some(3));
    Ok(())
}

#[test]
fn a_daemon_that_does_not_start_says_why() -> io::Result<()> {
    let host = Host::new("alone")?;
    let error = Daemon::of("/bin/ls").start(&host).unwrap_err().to_string();
    assert!(error.contains("ended with exit status"), "{error}");
    assert!(error.contains("knockd.conf"), "{error}");
    Ok(())
}

#[test]
fn labs_stand_side_by_side() {
    thread::scope(|scope| {
        let labs: Vec<_> = (0..8).map(|_| scope.spawn(Lab::pair)).collect();
        let labs: Vec<_> = labs.into_iter().map(|lab| lab.join().unwrap().unwrap()).collect();
        let services: Vec<_> = labs.iter().map(|lab| Service::start(lab.server(), 22).unwrap()).collect();
        for lab in &labs {
            assert_eq!(lab.client().probe(lab.server().at4(22)), PortState::Open);
        }
        let all_accepted = || services.iter().all(|service| service.accepted() == 1);
        lab::wait_until("each service has its one connection", SOON, all_accepted).unwrap();
    });
}

/// Prints what a lab costs: `cargo test -p lab --test lab -- --ignored --nocapture cost`.
#[test]
#[ignore = "a measurement"]
fn cost() -> io::Result<()> {
    const TIMES: u32 = 50;
    let begin = Instant::now();
    let labs = (0..TIMES).map(|_| Lab::pair()).collect::<io::Result<Vec<_>>>()?;
    println!("a pair: {:?}", begin.elapsed() / TIMES);
    let begin = Instant::now();
    drop(labs);
    println!("dropping it: {:?}", begin.elapsed() / TIMES);
    let begin = Instant::now();
    Lab::with_clients(20)?;
    println!("twenty clients: {:?}", begin.elapsed());
    Ok(())
}
