//! The client's side of the ssh-agent protocol: which keys an agent has, and a signature of one of them
//! (`draft-ietf-sshm-ssh-agent`).
//!
//! ```text
//! request:  length (4) ─► 11, list          │ 13, sign: key, text, flags (0)
//! answer:   length (4) ─► 12, keys, remarks │ 14, signature                   │ 5, no
//! ```
//!
//! An agent that does not answer is given up when it is asked for its keys. A signature is waited for, since somebody may
//! have to touch a token or to confirm.

use std::env;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use knock_core::spa::SshKey;
use ssh_key::{HashAlg, PublicKey};

/// What says where the user's agent is.
const VARIABLE: &str = "SSH_AUTH_SOCK";
/// Where the agent of Windows is.
const PIPE: &str = r"\\.\pipe\openssh-ssh-agent";
/// How long an agent may take to say which keys it has: one that asks a program or a person first takes some time.
const LISTING: Duration = Duration::from_secs(15);
/// How long a signature takes that nobody is asked for.
const SIGNING: Duration = Duration::from_secs(2);
/// The longest answer, in bytes: OpenSSH's own limit.
const LONGEST: u32 = 256 * 1024;

const FAILURE: u8 = 5;
const LIST: u8 = 11;
const KEYS: u8 = 12;
const SIGN: u8 = 13;
const SIGNATURE: u8 = 14;

/// An agent, which may not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agent {
    socket: PathBuf,
    /// How long it may take to say which keys it has.
    patience: Duration,
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ssh-agent at {}", self.socket.display())
    }
}

/// A key that an agent has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// What is remarked on it, without anything that a terminal would obey.
    pub(super) remark: String,
    /// How it is named in SSH.
    pub(super) algorithm: String,
    /// Its hash, as it is shown; none for what is no key by itself, such as a certificate.
    pub(super) fingerprint: Option<String>,
    /// The key, or why it cannot knock.
    pub(super) key: Result<SshKey, String>,
}

impl Agent {
    /// The agent with this socket, or the user's own.
    ///
    /// # Errors
    /// Where nothing says where it is; in words.
    pub(super) fn find(named: Option<&Path>) -> Result<Self, String> {
        let of_user = || env::var_os(VARIABLE).filter(|socket| !socket.is_empty()).map(PathBuf::from);
        let usual = || cfg!(windows).then(|| PathBuf::from(PIPE));
        let socket = named.map(Path::to_owned).or_else(of_user).or_else(usual);
        socket
            .map(|socket| Self { socket, patience: LISTING })
            .ok_or_else(|| format!("there is no ssh-agent ({VARIABLE} is not set)"))
    }

    /// The keys that it has.
    ///
    /// # Errors
    /// Where it is not there, or does not answer as an agent does; in words.
    pub(super) fn keys(&self) -> Result<Vec<Held>, String> {
        let answer = match self.ask(vec![LIST]).recv_timeout(self.patience) {
            Ok(answer) => self.heard(answer)?,
            Err(_) => return Err(format!("{self} does not answer")),
        };
        match answer.split_first() {
            Some((&KEYS, rest)) => held(rest).ok_or_else(|| self.odd()),
            Some((&FAILURE, _)) => Err(format!("{self} does not say which keys it has")),
            _ => Err(self.odd()),
        }
    }

    /// The signature of `text` by `key`, as SSH writes it; `wait` is called once where it takes long.
    ///
    /// # Errors
    /// Where it does not sign; in words.
    pub(super) fn sign(&self, key: &SshKey, text: &[u8], wait: impl FnOnce()) -> Result<Vec<u8>, String> {
        let request = [&[SIGN][..], &string(&key.to_bytes()), &string(text), &[0; 4]].concat();
        let asked = self.ask(request);
        let answer = match asked.recv_timeout(SIGNING) {
            Err(RecvTimeoutError::Timeout) => {
                wait();
                asked.recv().map_err(|_| self.odd())?
            }
            answer => answer.map_err(|_| self.odd())?,
        };
        let answer = self.heard(answer)?;
        match answer.split_first() {
            Some((&SIGNATURE, mut rest)) => {
                let signature = take(&mut rest).filter(|_| rest.is_empty());
                signature.map(<[u8]>::to_vec).ok_or_else(|| self.odd())
            }
            Some((&FAILURE, _)) => Err(format!(
                "{self} refuses to sign with the key {}: it was not confirmed or not touched (ssh-add -c, a token), \
                 the agent is locked (ssh-add -x), or the key is only for certain servers (ssh-add -h), which a knock \
                 is not",
                key.fingerprint()
            )),
            _ => Err(self.odd()),
        }
    }

    /// Asks in a thread, which is left to itself if nobody waits for its answer any more.
    fn ask(&self, request: Vec<u8>) -> Receiver<io::Result<Vec<u8>>> {
        let (tell, told) = mpsc::channel();
        let socket = self.socket.clone();
        thread::spawn(move || {
            // Nobody may be waiting for it any more.
            let _ = tell.send(exchange(&socket, &request));
        });
        told
    }

    fn heard(&self, answer: io::Result<Vec<u8>>) -> Result<Vec<u8>, String> {
        answer.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                let socket = self.socket.display();
                format!("no ssh-agent listens at {socket}: {error}")
            }
            _ => format!("{self} cannot be asked: {error}"),
        })
    }

    fn odd(&self) -> String {
        format!("{self} answers what no agent does")
    }
}

fn exchange(socket: &Path, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect(socket)?;
    stream.write_all(&string(request))?;
    stream.flush()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("an answer of {length} bytes")));
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[cfg(unix)]
fn connect(socket: &Path) -> io::Result<impl Read + Write> {
    std::os::unix::net::UnixStream::connect(socket)
}

/// A named pipe opens as a file does.
#[cfg(not(unix))]
fn connect(socket: &Path) -> io::Result<impl Read + Write> {
    std::fs::File::options().read(true).write(true).open(socket)
}

/// The keys of an answer.
fn held(mut rest: &[u8]) -> Option<Vec<Held>> {
    let number = rest.split_off(..4)?;
    let mut keys = Vec::new();
    for _ in 0..u32::from_be_bytes(number.try_into().ok()?) {
        let (blob, remark) = (take(&mut rest)?, take(&mut rest)?);
        let algorithm = take(&mut &*blob).unwrap_or_default();
        let fingerprint = PublicKey::from_bytes(blob).ok().filter(|key| !key.key_data().is_certificate());
        keys.push(Held {
            remark: plain(remark),
            algorithm: plain(algorithm),
            fingerprint: fingerprint.map(|key| key.fingerprint(HashAlg::Sha256).to_string()),
            key: SshKey::from_bytes(blob),
        });
    }
    Some(keys)
}

fn plain(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect()
}

/// The bytes as SSH writes a string (RFC 4251, section 5).
fn string(bytes: &[u8]) -> Vec<u8> {
    // Nothing that is sent is that long.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

/// Takes a string from the front.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk()?;
    let (taken, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = behind;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_keys_of_all_kinds() {
        let rsa = string(&[string(b"ssh-rsa"), string(&[1, 0, 1])].concat());
        let ed25519 = string(&[string(b"ssh-ed25519"), string(&[9; 32])].concat());
        let answer = [&[0, 0, 0, 2][..], &rsa, &string(b"old\x1b[2J"), &ed25519, &string(b"mine")].concat();
        let keys = held(&answer).unwrap();
        let [old, mine] = keys.as_slice() else { panic!("{keys:?}") };
        assert_eq!((old.remark.as_str(), old.algorithm.as_str()), ("old[2J", "ssh-rsa"));
        let key = mine.key.as_ref().unwrap();
        assert_eq!(mine.fingerprint, Some(key.fingerprint().to_string()));
        assert!(old.key.is_err());
        assert_eq!(held(&answer[..answer.len() - 1]), None);
    }

    #[test]
    fn says_that_nobody_listens() {
        let agent = Agent { socket: std::env::temp_dir().join("no-such-socket"), patience: LISTING };
        let refusal = agent.keys().unwrap_err();
        assert!(
            refusal.starts_with("no ssh-agent listens at ") && refusal.contains("no-such-socket"),
            "{refusal}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn one_that_does_not_answer_is_given_up() {
        let socket = std::env::temp_dir().join(format!("knock-mute-agent-{}", std::process::id()));
        let _ = std::fs::remove_file(&socket);
        let _mute = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let agent = Agent { socket: socket.clone(), patience: Duration::from_millis(50) };
        let told = agent.keys();
        std::fs::remove_file(&socket).unwrap();
        assert_eq!(told, Err(format!("the ssh-agent at {} does not answer", socket.display())));
    }

    proptest! {
        #[test]
        fn no_answer_is_too_odd(answer in any::<Vec<u8>>()) {
            let _ = held(&answer);
        }
    }
}
