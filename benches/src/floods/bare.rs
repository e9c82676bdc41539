//! The floor: a program that does nothing but receive what a daemon has to look at.

use std::env;
use std::io;
use std::process::{Command, Stdio};

use lab::{Host, Process};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType};
use socket2::{SockFilter, SockRef};

use crate::processors::{End, stay_at};
use crate::server::KNOCKS;

/// The argument that makes this program the receiver.
pub(crate) const ARGUMENT: &str = "--receive";
/// What it says when it listens.
const READY: &str = "ready";
/// How much waits for it in the kernel, in bytes: as with our daemon.
const BUFFER: usize = 4 << 20;
/// Every protocol, as a packet socket takes it.
const ALL_PROTOCOLS: u32 = (0x0003_u16).to_be() as u32;

/// Starts it on a host, at the server's end.
pub(crate) fn start(host: &Host) -> io::Result<Process> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(ARGUMENT).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = host.run(|| {
        stay_at(End::Server);
        Process::spawn(&mut command)
    })?;
    let output = process.child().stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    let mut line = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(output), &mut line)?;
    if line.trim() == READY {
        Ok(process)
    } else {
        Err(io::Error::other(format!("the receiver says {line:?}")))
    }
}

/// Receives, one packet a call, until it is killed.
pub(crate) fn receive() -> io::Result<()> {
    let all = std::num::NonZeroU32::new(ALL_PROTOCOLS).map(Protocol::from_raw);
    let socket =
        rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, all)?;
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER);
    SockRef::from(&socket).attach_filter(&filter())?;
    println!("{READY}");
    let mut buffer = [0_u8; 256];
    loop {
        rustix::net::recv(&socket, &mut buffer, RecvFlags::empty())?;
    }
}

/// Lets IPv4 packets to the door's ports pass, of either protocol.
fn filter() -> [SockFilter; 9] {
    const LOAD_HALF: u16 = 0x28;
    const LOAD_HALF_BEHIND_HEADER: u16 = 0x48;
    const HEADER_LENGTH: u16 = 0xb1;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ETHER_TYPE: u32 = 0xffff_f000;
    let [first, second, third] = KNOCKS.map(|(port, _)| u32::from(port));
    [
        SockFilter::new(LOAD_HALF, 0, 0, ETHER_TYPE),
        SockFilter::new(IF_EQUAL, 0, 5, 0x0800),
        SockFilter::new(HEADER_LENGTH, 0, 0, 0),
        SockFilter::new(LOAD_HALF_BEHIND_HEADER, 0, 0, 2),
        SockFilter::new(IF_EQUAL, 3, 0, first),
        SockFilter::new(IF_EQUAL, 2, 0, second),
        SockFilter::new(IF_EQUAL, 1, 0, third),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}
