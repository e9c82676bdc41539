//! What keeps a command from being done.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why `knockctl` does not end with success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The daemon does not answer.
    Unreachable {
        /// Where it was looked for.
        socket: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The daemon says no.
    Refused(String),
    /// The daemon closed the connection before it was done.
    CutOff,
    /// The daemon says what is no answer to this request.
    NotUnderstood(String),
    /// A problem was found, and told of already.
    Told,
    /// What there is to tell cannot be written.
    Output(io::Error),
    /// Whoever read what there is to tell has heard enough; no failure to speak of.
    NobodyReads,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { socket, error } => {
                let socket = socket.display();
                match error.kind() {
                    io::ErrorKind::NotFound => write!(
                        f,
                        "there is no socket {socket}: knockd is not running, or has its socket elsewhere \
                         (-s names it, -c the configuration that names it)"
                    ),
                    io::ErrorKind::ConnectionRefused => {
                        write!(f, "nobody listens at {socket}: knockd is not running any more, start it")
                    }
                    io::ErrorKind::PermissionDenied => {
                        write!(f, "{socket}: permission denied; only root may ask knockd (sudo knockctl …)")
                    }
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        write!(f, "knockd does not answer at {socket}: is it stopped or very busy?")
                    }
                    _ => write!(f, "knockd cannot be reached at {socket}: {error}"),
                }
            }
            Self::Refused(message) => f.write_str(message),
            Self::CutOff => f.write_str("knockd has closed the connection: has it ended? Its log tells"),
            Self::NotUnderstood(why) => {
                write!(f, "the answer is not understood ({why}): are knockd and knockctl of one version?")
            }
            Self::Output(error) => write!(f, "standard output: {error}"),
            Self::Told => f.write_str("a problem was found"),
            Self::NobodyReads => f.write_str("nobody reads"),
        }
    }
}

impl std::error::Error for Failure {}
