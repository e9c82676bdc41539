//! What arrives.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Ear, Ended, PATIENCE, V4, V6, closed_port, command, knock, knock_well};

#[test]
fn udp_is_one_datagram_of_one_nul_byte() {
    for address in [V4, V6] {
        let (first, second) = (Ear::at(address), Ear::at(address));
        knock_well(&format!("{address} {}:udp {}:UDP", first.port(), second.port()));
        for ear in [first, second] {
            assert_eq!(ear.hear().ip(), address);
            assert!(ear.is_quiet());
        }
    }
}

#[test]
fn udp_for_all_ports() {
    let (first, second) = (Ear::at(V4), Ear::at(V4));
    knock_well(&format!("-u 127.0.0.1 {} {}:tcp", first.port(), second.port()));
    first.hear();
    second.hear();
}

#[test]
fn tcp_reaches_a_listener() {
    for address in [V4, V6] {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let deadline = Instant::now() + PATIENCE;
        // The client may be gone before the handshake is through: then nothing is there to accept.
        while listener.accept().is_err() {
            assert!(Instant::now() < deadline, "no connection at {address}");
            knock_well(&format!("{address} {port}"));
        }
    }
}

#[test]
fn a_refused_port_was_knocked() {
    knock_well(&format!("127.0.0.1 {} 9:udp", closed_port()));
}

#[test]
fn knocks_come_in_order_and_each_is_followed_by_the_delay() {
    const GAP: Duration = Duration::from_millis(200);
    let (sender, heard) = mpsc::channel();
    let ports: Vec<u16> = (0..2).map(|_| listen(sender.clone())).collect();
    let begin = Instant::now();
    knock_well(&format!("-ud {} 127.0.0.1 {} {}", GAP.as_millis(), ports[0], ports[1]));
    let took = begin.elapsed();
    assert!(took >= 2 * GAP, "{took:?}");
    let order = [(); 2].map(|()| heard.recv_timeout(PATIENCE).unwrap());
    assert_eq!(order, ports[..]);
}

fn listen(heard: mpsc::Sender<u16>) -> u16 {
    let ear = Ear::at(V4);
    let port = ear.port();
    thread::spawn(move || {
        ear.hear();
        let _ = heard.send(port);
    });
    port
}

#[test]
fn tells_each_knock_as_knock_0_8_does() {
    let tcp = closed_port();
    let ended = knock(&format!("-v 127.0.0.1 {tcp} 9:udp"));
    assert_eq!(ended.stdout, format!("hitting tcp 127.0.0.1:{tcp}\nhitting udp 127.0.0.1:9\n"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(knock("-v ::1 9:udp").stdout, "hitting udp ::1:9\n");
}

#[test]
fn a_reader_that_went_away_ends_no_sequence() {
    let ears = [Ear::at(V4), Ear::at(V4)];
    let ports = ears.each_ref().map(|ear| ear.port().to_string());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status =
        command().args(["-vu", "127.0.0.1"]).args(ports).stdout(Stdio::from(writer)).status().unwrap();
    assert_eq!(status.code(), Some(0));
    for ear in ears {
        ear.hear();
    }
}

#[test]
fn sends_from_the_address_that_is_asked_for() {
    // Linux has all of 127.0.0.0/8 on its loopback interface, others have one address.
    let source = if cfg!(target_os = "linux") { "127.0.0.77" } else { "127.0.0.1" };
    let ear = Ear::at(V4);
    knock_well(&format!("-s {source} 127.0.0.1 {}:udp", ear.port()));
    assert_eq!(ear.hear().ip().to_string(), source);
    let ear = Ear::at(V6);
    knock_well(&format!("--source=::1 ::1 {}:udp", ear.port()));
    assert_eq!(ear.hear().ip(), V6);
}

#[test]
fn an_address_of_another_machine_is_no_source() {
    let ear = Ear::at(V4);
    for protocol in ["tcp", "udp"] {
        let Ended { code, stderr, .. } =
            knock(&format!("-s 203.0.113.77 127.0.0.1 {}:{protocol}", ear.port()));
        assert_eq!(code, Some(3));
        let message = format!(
            "knock: {protocol} 127.0.0.1:{} (knock 1 of 1) could not be sent: --source is no address of this machine\n",
            ear.port()
        );
        assert_eq!(stderr, message);
    }
    assert!(ear.is_quiet());
}

#[test]
fn one_family_is_enough_for_both() {
    let ear = Ear::at(V6);
    knock_well(&format!("--both ::1 {}:udp", ear.port()));
    ear.hear();
    assert_eq!(knock("-v --both ::1 9:udp").stderr, "knock: note: \"::1\" has no IPv4 address\n");
}

#[test]
fn more_ports_than_a_door_has_are_sent_with_a_remark() {
    let ear = Ear::at(V4);
    let ended = knock(&format!("-u 127.0.0.1 {}", format!("{} ", ear.port()).repeat(33)));
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.stderr, "knock: note: 33 ports; a door of knockd has at most 32\n");
    for _ in 0..33 {
        ear.hear();
    }
    assert!(ear.is_quiet());
}
