//! One daemon at a time has the kernel's table of a network namespace.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use knock_linux::peer::peer;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::geteuid;

/// A name in the network namespace's own list of abstract socket addresses (unix(7)): it goes with the process.
const NAME: &str = "knockd: table inet knockd";

/// The right to the table, as long as it is kept.
pub(crate) struct Owner {
    _listener: Option<UnixListener>,
}

impl Owner {
    /// Takes it.
    ///
    /// # Errors
    /// Where another daemon has it; in words.
    pub(crate) fn take() -> Result<Self, String> {
        let address = SocketAddr::from_abstract_name(NAME).map_err(|error| error.to_string())?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => Ok(Self { _listener: Some(listener) }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match holder() {
                Some(process) => Err(format!(
                    "another knockd with native doors (process {process}) has the table inet knockd: one can have it, \
                     so put the doors into one configuration"
                )),
                // Anybody can take the name; who may not make rules does not have the table.
                None => Ok(Self { _listener: None }),
            },
            // It is a precaution, which must keep nobody from guarding a port.
            Err(_) => Ok(Self { _listener: None }),
        }
    }
}

/// The process that has the name, where it is one that may have the table.
fn holder() -> Option<u32> {
    // Whoever lets others wait in its queue must not keep us from starting.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    connect(&socket, &SocketAddrUnix::new_abstract_name(NAME.as_bytes()).ok()?).ok()?;
    let peer = peer(&socket).ok()?;
    let trusted = peer.user == 0 || peer.user == geteuid().as_raw();
    // A process of another namespace has no number here.
    trusted.then(|| peer.process.unwrap_or_default())
}
