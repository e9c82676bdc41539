//! Who brings conntrack to call a connection established that is new gets in no more for it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use lab::{Capture, Frame, Host, Lab, Sender, Service, TcpFlags};

use crate::support::{SOON, close, gate, guarded, open, table_with};

/// How long an answer that does not come is waited for.
const NO_ANSWER: Duration = Duration::from_millis(300);
const ALL_HOSTS: [u8; 6] = [0xff; 6];

/// A client that makes its own segments; its kernel, which knows nothing of them, keeps quiet.
struct Client<'a> {
    host: &'a Host,
    sender: Sender,
}

impl<'a> Client<'a> {
    fn new(lab: &'a Lab) -> io::Result<Self> {
        let host = lab.client();
        host.nft(
            "table inet mute { chain out { type filter hook output priority 0; tcp flags rst drop; }; }",
        )?;
        Ok(Self { host, sender: Sender::open(host, "eth0", lab.server(), "eth0")? })
    }

    /// Sends the first segment of a connection; the sequence number of the answer, if one comes.
    fn begin(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        number: u32,
        within: Duration,
    ) -> io::Result<Option<u32>> {
        let capture = Capture::open(self.host, "eth0")?;
        self.sender.send(&Frame::tcp(from, to).flags(TcpFlags::SYN).numbers(number, 0))?;
        let answers =
            |seen: &lab::Seen| seen.destination == from && seen.flags.contains(TcpFlags::SYN | TcpFlags::ACK);
        let seen = capture.wait_for(within, |seen| seen.iter().any(answers)).unwrap_or_default();
        const SEQUENCE: std::ops::Range<usize> = 38..42;
        let number = |seen: &lab::Seen| seen.frame.get(SEQUENCE)?.try_into().map(u32::from_be_bytes).ok();
        Ok(seen.iter().find(|seen| answers(seen)).and_then(number))
    }
}

#[test]
fn an_answer_that_was_never_given_makes_no_connection() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), Client::new(&lab)?);
    let _ssh = Service::start(server, 22)?;
    let mut table = table_with(server, &guarded([gate("ssh", "22/tcp")]));
    let (from, to) = (client.host.at4(4300), server.at4(22));
    // One that no listener takes, and so none answers; then one that claims to be the server's.
    let lone = Frame::tcp(from, to).flags(TcpFlags::ACK).numbers(1000, 2000);
    client.sender.send(&lone.to_hardware(ALL_HOSTS))?;
    client.sender.send(&Frame::tcp(to, from).flags(TcpFlags::ACK).numbers(2000, 1000))?;
    assert_eq!(client.begin(from, to, 777, NO_ANSWER)?, None);
    open(&mut table, "ssh", client.host.ip4(), None);
    assert!(client.begin(client.host.at4(4301), to, 777, SOON)?.is_some(), "that is how a connection begins");
    Ok(())
}

#[test]
fn the_ports_of_a_connection_that_was_reset_are_good_for_no_other() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), Client::new(&lab)?);
    let listener = server.run(|| TcpListener::bind(server.at4(22)))?;
    // Whoever closes with something unread resets the connection.
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.peek(&mut [0]);
        }
    });
    let mut table = table_with(server, &guarded([gate("ssh", "22/tcp")]));
    let (from, to) = (client.host.at4(4500), server.at4(22));
    open(&mut table, "ssh", client.host.ip4(), None);
    let answer = client.begin(from, to, 1007, SOON)?.expect("the door is open");
    let capture = Capture::open(client.host, "eth0")?;
    let data = Frame::tcp(from, to).flags(TcpFlags::PSH | TcpFlags::ACK);
    client.sender.send(&data.numbers(1008, answer.wrapping_add(1)).payload(*b"unread"))?;
    let reset = |seen: &lab::Seen| seen.destination == from && seen.flags.contains(TcpFlags::RST);
    capture.wait_for(SOON, |seen| seen.iter().any(reset))?;
    close(&mut table, "ssh", client.host.ip4());
    assert_eq!(client.begin(from, to, 2007, NO_ANSWER)?, None);
    Ok(())
}
