//! A service by UDP, and what its port looks like from elsewhere.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lab::{Host, wait_until};

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_millis(300);

/// A UDP service that echoes what it is told, on all addresses of both families. Its port is closed on drop, a moment
/// later.
pub(crate) struct Echo {
    over: Arc<AtomicBool>,
}

impl Echo {
    pub(crate) fn start(host: &Host, port: u16) -> io::Result<Self> {
        let socket = host.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))?;
        socket.set_read_timeout(Some(ANSWER))?;
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while !is_over.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        });
        Ok(Self { over })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// An exchange of datagrams from one port to another.
pub(crate) struct Talk(UdpSocket);

impl Talk {
    /// Begins one that is answered; `None` where nobody answers.
    pub(crate) fn begin(host: &Host, target: SocketAddr) -> io::Result<Option<Self>> {
        let any = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = host.run(|| UdpSocket::bind(SocketAddr::new(any, 0)))?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(ANSWER))?;
        let talk = Self(socket);
        Ok(talk.goes_on().then_some(talk))
    }

    /// Whether it is answered still.
    pub(crate) fn goes_on(&self) -> bool {
        let mut buffer = [0; 64];
        // A port that is not in use answers with an error to one of both.
        self.0.send(b"hello").is_ok()
            && self.0.recv(&mut buffer).is_ok_and(|length| buffer[..length] == *b"hello")
    }
}

/// Whether the service answers.
pub(crate) fn answers(host: &Host, target: SocketAddr) -> bool {
    matches!(Talk::begin(host, target), Ok(Some(_)))
}

/// Waits until the service answers, and returns the exchange.
pub(crate) fn wait_for_answer(host: &Host, target: SocketAddr, within: Duration) -> io::Result<Talk> {
    let mut talk = None;
    wait_until(&format!("an answer of {target}"), within, || {
        talk = Talk::begin(host, target).ok().flatten();
        talk.is_some()
    })?;
    talk.ok_or_else(|| io::Error::other("no exchange"))
}
