//! Standard input and output become a connection: what ssh wants of a `ProxyCommand`.
//!
//! Each direction ends by itself: what has ended here is told to the other side, and what comes from there is passed on
//! until it ends, too. Standard output is closed then, so that whoever reads it learns of the end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// How much is passed on at once.
const CHUNK: usize = 64 * 1024;
/// How long a connection may be silent before the other side is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(60);

/// Passes on everything in both directions until both have ended.
///
/// A reader of standard output that goes away ends it, too.
///
/// # Errors
/// Where the connection breaks.
pub(crate) fn run(stream: TcpStream) -> io::Result<()> {
    prepare(&stream)?;
    let mut outgoing = stream.try_clone()?;
    let sending = thread::spawn(move || {
        let sent = pass_on(&mut io::stdin().lock(), &mut outgoing);
        // A connection that has broken needs no end.
        let _ = outgoing.shutdown(Shutdown::Write);
        sent
    });
    match pass_on(&mut &stream, &mut io::stdout().lock()) {
        // Only writing meets a broken pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        received => received?,
    }
    if close_output()? { sending.join().unwrap_or(Ok(())) } else { Ok(()) }
}

/// ssh would set these itself if the connection were its own.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE))
}

fn pass_on(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(buffer.get(..length).unwrap_or_default())?;
        to.flush()?;
    }
}

/// Whether standard output could be closed: where it cannot, only the end of the process tells its reader.
#[cfg(unix)]
fn close_output() -> io::Result<bool> {
    let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    Ok(true)
}

#[cfg(not(unix))]
fn close_output() -> io::Result<bool> {
    Ok(false)
}
