//! The daemon's end of the socket, and runs of the program.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread::{self, JoinHandle};

use knock_core::control::Request;
use lab::TempDir;

/// A socket at which one request is taken and answered with what the test wants.
pub(crate) struct Peer {
    directory: TempDir,
    requests: JoinHandle<Request>,
}

impl Peer {
    /// Answers with these bytes, then closes.
    pub(crate) fn that_says(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::that(move |mut stream| {
            // Whoever asked may have heard enough.
            let _ = stream.write_all(&answer);
        })
    }

    /// Does what is wanted once the request is heard.
    pub(crate) fn that(does: impl FnOnce(UnixStream) + Send + 'static) -> Self {
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let requests = thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            does(stream.into_inner());
            serde_json::from_str(&line).unwrap()
        });
        Self { directory, requests }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// A run with this line of arguments, asking here.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = knockctl(line);
        command.arg("--socket").arg(self.path());
        command
    }

    /// What was asked.
    pub(crate) fn request(self) -> Request {
        self.requests.join().unwrap()
    }
}

/// A run with this line of arguments, without what is in the tester's environment.
pub(crate) fn knockctl(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    command.args(line.split_whitespace()).env_remove("RUNTIME_DIRECTORY");
    command
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

pub(crate) fn run(command: &mut Command) -> Ended {
    command.output().unwrap().into()
}
