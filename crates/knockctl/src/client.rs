//! The daemon's other end: a request goes out, lines come back.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use knock_core::control::{Answer, Request};

use crate::failure::Failure;

/// How long the daemon may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection, good for one request.
pub(crate) struct Connection {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
}

/// One line of the daemon.
pub(crate) struct Reply {
    /// The line itself.
    pub(crate) line: String,
    /// What it says.
    pub(crate) answer: Answer,
}

/// Asks something, and gives the answer.
pub(crate) fn ask(socket: &Path, request: &Request) -> Result<Reply, Failure> {
    Connection::ask(socket, request).map(|(reply, _)| reply)
}

impl Connection {
    /// Asks something, and gives the answer, and the connection for what may follow.
    pub(crate) fn ask(socket: &Path, request: &Request) -> Result<(Reply, Self), Failure> {
        let unreachable = |error| Failure::Unreachable { socket: socket.to_owned(), error };
        let stream = UnixStream::connect(socket).map_err(unreachable)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(unreachable)?;
        let mut connection = Self { socket: socket.to_owned(), stream: BufReader::new(stream) };
        let sent = connection.send(request);
        // Where it was not taken, an answer may say why.
        match connection.receive() {
            Ok(Some(reply)) => Ok((reply, connection)),
            Ok(None) => Err(sent.err().map_or(Failure::CutOff, unreachable)),
            Err(failure) => Err(failure),
        }
    }

    /// The next line, however long that takes; `None` where the daemon has closed the connection.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, Failure> {
        self.stream.get_ref().set_read_timeout(None).map_err(|error| self.unreachable(error))?;
        self.receive()
    }

    fn send(&mut self, request: &Request) -> io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)
    }

    fn receive(&mut self) -> Result<Option<Reply>, Failure> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(Failure::NotUnderstood(error.to_string()));
            }
            Err(error) => return Err(self.unreachable(error)),
            // Half a line is no answer.
            Ok(_) if !line.ends_with('\n') => return Ok(None),
            Ok(_) => {}
        }
        match serde_json::from_str(&line) {
            Ok(Answer::Error { message }) => Err(Failure::Refused(message)),
            Ok(answer) => Ok(Some(Reply { line, answer })),
            Err(error) => Err(Failure::NotUnderstood(error.to_string())),
        }
    }

    fn unreachable(&self, error: io::Error) -> Failure {
        Failure::Unreachable { socket: self.socket.clone(), error }
    }
}
