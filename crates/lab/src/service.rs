//! A service worth protecting, and connections to it that last.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use crate::host::Host;

/// What the service says first, as an SSH server does.
const BANNER: &str = "SSH-2.0-lab";
/// How long a session waits for an answer.
const ANSWER: Duration = Duration::from_secs(3);

/// A TCP service that greets with `SSH-2.0-lab` and echoes what it is told, for as long as a connection lasts.
///
/// Its port is closed, and all its connections are cut, on drop.
#[derive(Debug)]
pub struct Service {
    listener: Arc<TcpListener>,
    /// All that were ever accepted; those that have ended are closed.
    connections: Arc<Mutex<Vec<Weak<TcpStream>>>>,
}

impl Service {
    /// Starts it on a port of `host`, on all its addresses of both families.
    ///
    /// # Errors
    /// `AddrInUse` when something listens there.
    pub fn start(host: &Host, port: u16) -> io::Result<Self> {
        Self::bind(host, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
    }

    /// Starts it on one address of `host`.
    ///
    /// # Errors
    /// `AddrInUse` when something listens there, `AddrNotAvailable` when the host has no such address.
    pub fn bind(host: &Host, address: SocketAddr) -> io::Result<Self> {
        let listener = Arc::new(host.run(|| TcpListener::bind(address))?);
        let connections = Arc::new(Mutex::new(Vec::new()));
        let service = Self { listener: listener.clone(), connections: connections.clone() };
        // A socket stays in the namespace that it was made in, so the thread need not be there.
        thread::spawn(move || serve(&listener, &connections));
        Ok(service)
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        lock(&self.connections).len()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Wakes the thread that accepts, which then ends and closes the port.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        for connection in lock(&self.connections).iter().filter_map(Weak::upgrade) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn serve(listener: &TcpListener, connections: &Mutex<Vec<Weak<TcpStream>>>) {
    while let Ok((stream, _)) = listener.accept() {
        let stream = Arc::new(stream);
        lock(connections).push(Arc::downgrade(&stream));
        thread::spawn(move || echo(&stream));
    }
}

fn echo(mut stream: &TcpStream) -> io::Result<()> {
    writeln!(stream, "{BANNER}")?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection to a [`Service`], open until it is dropped.
#[derive(Debug)]
pub struct Session {
    stream: BufReader<TcpStream>,
}

impl Session {
    /// Connects from `host` and reads the greeting.
    ///
    /// # Errors
    /// What connecting says, or `InvalidData` when something else answers.
    pub fn open(host: &Host, target: SocketAddr) -> io::Result<Self> {
        let stream = host.run(|| TcpStream::connect_timeout(&target, ANSWER))?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut session = Self { stream: BufReader::new(stream) };
        match session.line()? {
            greeting if greeting == BANNER => Ok(session),
            other => Err(io::Error::new(ErrorKind::InvalidData, format!("greeted with {other:?}"))),
        }
    }

    /// Says `text` (one line) and checks that the service says the same.
    ///
    /// # Errors
    /// `WouldBlock` without an answer in three seconds, `InvalidData` with another one.
    pub fn echo(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.stream.get_mut(), "{text}")?;
        match self.line()? {
            answer if answer == text => Ok(()),
            answer => {
                Err(io::Error::new(ErrorKind::InvalidData, format!("{text:?} came back as {answer:?}")))
            }
        }
    }

    /// The address that the service sees.
    ///
    /// # Errors
    /// What the socket says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}
