//! Finds the moment from which on a port is reachable.
//!
//! The client's end of the cable sends datagrams as raw frames, one every few microseconds, and looks at the server's
//! socket behind each: on a virtual cable the kernel takes a frame all the way to the socket before `send` returns.
//! Nobody has to answer, so no service's time counts, and there are no SYNs whose repetition would have to be waited
//! for. Each datagram carries the time at which it was sent.

use std::hint;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use lab::{Frame, Lab, Sender};

use crate::processors::{End, at};

/// The port behind each door; UDP.
pub(crate) const PORT: u16 = 4022;
/// How often a probe is sent while one waits.
const PACE: Duration = Duration::from_micros(5);
/// How many probes go ahead of a race.
const WARM_UP: u32 = 5;
/// How long a probe may take to arrive where one is sure that nothing comes.
const GRACE: Duration = Duration::from_millis(2);
/// Where a frame has its UDP checksum, which may be zero, for none.
const CHECKSUM: std::ops::Range<usize> = 40..42;
/// And where its payload begins.
const PAYLOAD: usize = 42;

/// How a race ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Race {
    /// From just before the start to just before the first probe was sent that arrived.
    pub(crate) time: Duration,
    /// How long before that the last one was sent that did not: the uncertainty.
    pub(crate) gap: Duration,
}

/// A server's socket, and the means to send to it from anywhere.
pub(crate) struct Prober {
    sender: Sender,
    socket: UdpSocket,
    server: IpAddr,
    next_source: AtomicU16,
}

impl Prober {
    /// Puts a socket behind the server's door.
    pub(crate) fn new(lab: &Lab) -> io::Result<Self> {
        let (client, server) = (lab.client(), lab.server());
        let socket = server.run(|| UdpSocket::bind(server.at4(PORT)))?;
        socket.set_nonblocking(true)?;
        let sender = Sender::open(client, "eth0", server, "eth0")?;
        Ok(Self { sender, socket, server: server.ip4(), next_source: AtomicU16::new(0) })
    }

    /// An address that nobody has used.
    pub(crate) fn fresh_source(&self) -> IpAddr {
        let [high, low] = self.next_source.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(10, 9, 16 + high, low))
    }

    /// A knock's frame, ready to be sent.
    pub(crate) fn knock(&self, source: IpAddr, port: u16, is_udp: bool) -> Vec<u8> {
        let (from, to) = (SocketAddr::new(source, 40_000), SocketAddr::new(self.server, port));
        let frame = if is_udp { Frame::udp(from, to) } else { Frame::tcp(from, to) };
        let (own, peer) = self.sender.hardware_addresses();
        frame.bytes(own, peer)
    }

    /// A datagram's frame, ready to be sent.
    pub(crate) fn datagram(&self, source: IpAddr, port: u16, content: Vec<u8>) -> Vec<u8> {
        let (from, to) = (SocketAddr::new(source, 40_000), SocketAddr::new(self.server, port));
        let (own, peer) = self.sender.hardware_addresses();
        Frame::udp(from, to).payload(content).bytes(own, peer)
    }

    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.sender.send_bytes(frame)
    }

    /// Whether a datagram of a connection that is new arrives now.
    pub(crate) fn lets_in(&self, source: IpAddr) -> io::Result<bool> {
        static NEXT_PORT: AtomicU16 = AtomicU16::new(0);
        let port = 20_000 + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % 10_000;
        while self.arrived()?.is_some() {}
        let begin = Instant::now();
        let mut probe = self.probe(source, port);
        self.send(stamped(&mut probe, Duration::ZERO))?;
        while begin.elapsed() < GRACE {
            if self.arrived()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Starts something that opens the port for `source`, and probes until it is open.
    ///
    /// # Errors
    /// `TimedOut` when it is not open `within` this time.
    pub(crate) fn race(
        &self,
        source: IpAddr,
        within: Duration,
        start: impl FnOnce() -> io::Result<()> + Send,
    ) -> io::Result<Race> {
        at(End::Client, || self.race_here(source, within, start))
    }

    fn race_here(
        &self,
        source: IpAddr,
        within: Duration,
        start: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<Race> {
        let mut probe = self.probe(source, 41_000);
        // The first ones take longer: the way is not in the processor's caches yet.
        (0..WARM_UP).try_for_each(|_| self.send(&probe))?;
        while self.arrived()?.is_some() {}
        let begin = Instant::now();
        start()?;
        let mut before = Duration::ZERO;
        loop {
            let now = begin.elapsed();
            if now > within {
                let message = format!("{source} is not let in {within:?} after the last knock");
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            self.send(stamped(&mut probe, now))?;
            if let Some(time) = self.arrived()? {
                return Ok(Race { time, gap: time.saturating_sub(before) });
            }
            before = now;
            while begin.elapsed() < now + PACE {
                hint::spin_loop();
            }
        }
    }

    /// A datagram to the port behind the door.
    pub(crate) fn probe(&self, source: IpAddr, port: u16) -> Vec<u8> {
        let target = SocketAddr::new(self.server, PORT);
        let frame = Frame::udp(SocketAddr::new(source, port), target).payload([0; 8]);
        let (own, peer) = self.sender.hardware_addresses();
        let mut frame = frame.bytes(own, peer);
        if let Some(checksum) = frame.get_mut(CHECKSUM) {
            checksum.fill(0);
        }
        frame
    }

    /// Who sent the next datagram, if one is there.
    pub(crate) fn arrived_from(&self) -> io::Result<Option<IpAddr>> {
        match self.socket.recv_from(&mut [0; 8]) {
            Ok((_, from)) => Ok(Some(from.ip())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The time that the next datagram carries, if one is there.
    fn arrived(&self) -> io::Result<Option<Duration>> {
        let mut bytes = [0; 8];
        match self.socket.recv(&mut bytes) {
            Ok(_) => Ok(Some(Duration::from_nanos(u64::from_be_bytes(bytes)))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn stamped(frame: &mut [u8], time: Duration) -> &[u8] {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    if let Some(payload) = frame.get_mut(PAYLOAD..PAYLOAD + 8) {
        payload.copy_from_slice(&nanoseconds.to_be_bytes());
    }
    frame
}
