//! The socket's place in the file system: taken when the daemon starts, left when it ends.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

/// How many may wait to be accepted.
const BACKLOG: i32 = 64;

/// A socket that listens at a path, which is removed with this value.
pub(super) struct Place {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of what is at the path.
    identity: (u64, u64),
}

impl Place {
    /// Takes the place, with access for the daemon's own user alone from the first moment on. A socket that nobody
    /// listens at any more is replaced.
    ///
    /// # Errors
    /// `AddrInUse` where somebody listens there, `AlreadyExists` where there is something else than a socket, and
    /// whatever making the directory and the socket says.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path).map_err(too_long)?;
        make_parent(path)?;
        let socket = new_socket()?;
        // The file gets the socket's own mode. `bind` is the only call that makes it, so there is no moment before.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        if bind(&socket, &address) == Err(Errno::ADDRINUSE) {
            remove_left_over(path, &address)?;
            bind(&socket, &address)?;
        }
        let identity = identity(path)?;
        listen(&socket, BACKLOG)?;
        Ok(Self { listener: socket.into(), path: path.to_owned(), identity })
    }

    /// The next that has connected, if there is one.
    ///
    /// # Errors
    /// `WouldBlock` where there is none, and what accept(2) says.
    pub(super) fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Another daemon may have taken the place over.
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // Nobody is left to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn too_long(error: Errno) -> io::Error {
    if error != Errno::NAMETOOLONG {
        return error.into();
    }
    let message = "the path is too long for a socket: up to 107 bytes are possible (control_socket)";
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn make_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)
        }
        _ => Ok(()),
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Removes the socket of a daemon that has not removed it itself.
fn remove_left_over(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    // Not followed: a link is not ours.
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        let message =
            "there is something that is no socket: move it away, or name another place (control_socket)";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    match connect(new_socket()?, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path),
        // It has gone in this moment.
        Err(Errno::NOENT) => Ok(()),
        // `AGAIN` is a daemon that is too busy to accept.
        Ok(()) | Err(Errno::AGAIN) => {
            let message = "a daemon listens there already: end it, or name another place (control_socket)";
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        }
        Err(error) => Err(error.into()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}
