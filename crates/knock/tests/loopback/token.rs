//! FIDO tokens, and agents that are none: an agent of our own, whose key signs as a token does (`PROTOCOL.u2f`).

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use knock_core::spa::{Refusal, sign};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{HashAlg, PrivateKey, PublicKey};

use crate::client::{Ended, V4, closed_port};
use crate::person::{Person, Server};

const ALGORITHM: &[u8] = b"sk-ssh-ed25519@openssh.com";
const APPLICATION: &[u8] = b"ssh:";
const TOUCHED: u8 = 1;

/// How the agent answers what it is to sign.
#[derive(Clone, Copy)]
enum Manner {
    /// As a token does, with these flags.
    Token(u8),
    /// With the token's signature of another text.
    OtherText,
    /// As if the key were a plain one.
    OtherAlgorithm,
    /// With bytes that mean nothing.
    Noise,
    /// Not at all: it goes away.
    Gone,
}

fn key() -> PrivateKey {
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&[5; 32])), "").unwrap()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// The token's key as SSH writes it.
fn blob() -> Vec<u8> {
    let public = key().public_key().to_bytes().unwrap();
    let point = &public[public.len() - 32..];
    [string(ALGORITHM), string(point), string(APPLICATION)].concat()
}

fn authorized() -> String {
    format!("{} my token", PublicKey::from_bytes(&blob()).unwrap().to_openssh().unwrap().trim())
}

/// What a plain key signs, without the name of its algorithm.
fn raw(text: &[u8]) -> Vec<u8> {
    let signature = sign(&key(), text).unwrap();
    signature[signature.len() - 64..].to_vec()
}

fn of_token(text: &[u8], flags: u8) -> Vec<u8> {
    let trailer = [&[flags][..], &[0, 0, 0, 7]].concat();
    let digest = |bytes: &[u8]| HashAlg::Sha256.digest(bytes);
    let signed = [digest(APPLICATION), trailer.clone(), digest(text)].concat();
    [string(ALGORITHM), string(&raw(&signed)), trailer].concat()
}

/// Serves for as long as the test runs.
fn start(person: &Person, manner: Manner) -> PathBuf {
    let socket = person.home.join("token-agent");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap(), manner);
        }
    });
    socket
}

fn serve(mut stream: UnixStream, manner: Manner) {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut request = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut request).unwrap();
    let (kind, rest) = request.split_first().unwrap();
    let answer = match kind {
        11 => [&[12, 0, 0, 0, 1][..], &string(&blob()), &string(b"my token")].concat(),
        13 => {
            let rest = rest.strip_prefix(string(&blob()).as_slice()).unwrap();
            let text = rest[4..].strip_suffix(&[0; 4]).unwrap();
            let signature = match manner {
                Manner::Token(flags) => of_token(text, flags),
                Manner::OtherText => of_token(b"another text", TOUCHED),
                Manner::OtherAlgorithm => sign(&key(), text).unwrap(),
                Manner::Noise => vec![0xff; 100],
                Manner::Gone => return,
            };
            [&[14][..], &string(&signature)].concat()
        }
        other => panic!("request {other}"),
    };
    stream.write_all(&string(&answer)).unwrap();
}

fn scene(manner: Manner) -> (Person, Server, PathBuf) {
    let (person, server) = (Person::new(), Server::new());
    let socket = start(&person, manner);
    person.write_hosts(&server.table("here", &format!("agent = \"{}\"", socket.display())));
    (person, server, socket)
}

fn touch() -> String {
    let public = PublicKey::from_bytes(&blob()).unwrap();
    format!("knock: touch the token of {} (my token)\n", public.fingerprint(HashAlg::Sha256))
}

#[test]
fn a_token_is_to_be_touched() {
    let (person, server, _) = scene(Manner::Token(TOUCHED));
    let ended = person.knock("here");
    assert_eq!(ended, Ended { code: Some(0), stdout: String::new(), stderr: touch() });
    let heard = server.hear();
    assert_eq!(heard.signer(&authorized()), "my token");
    assert!(matches!(
        heard.judged(&format!("verify-required {}", authorized())),
        Err(Refusal::Unverified(name)) if name == "my token"
    ));
}

/// Whether that will do, the server says: its file may have `no-touch-required`.
#[test]
fn what_was_not_touched_is_for_the_server_to_judge() {
    let (person, server, _) = scene(Manner::Token(0));
    assert_eq!(person.knock("here").code, Some(0));
    let heard = server.hear();
    assert!(matches!(heard.judged(&authorized()), Err(Refusal::Untouched(_))));
    assert_eq!(heard.signer(&format!("no-touch-required {}", authorized())), "my token");
}

/// A second touch would be waited for while the port may be open already.
#[test]
fn a_token_is_touched_once_for_a_connection() {
    let (person, server, _) = scene(Manner::Token(TOUCHED));
    let ended = person.knock(&format!("--timeout 3 --proxy here {}", closed_port()));
    assert_eq!(ended.code, Some(4));
    assert_eq!(ended.stderr.matches("touch the token").count(), 1, "{}", ended.stderr);
    server.hear();
    assert!(server.is_quiet());
    let listener = TcpListener::bind((V4, 0)).unwrap();
    let open = listener.local_addr().unwrap();
    let ended = person.knock(&format!("--verify {} here", open.port()));
    assert!(ended.stdout.starts_with(&format!("{open} is open, ")), "{}", ended.stderr);
}

#[test]
fn no_wrong_signature_is_sent() {
    let cases = [
        (Manner::OtherText, "the signature is not one of this key"),
        (
            Manner::OtherAlgorithm,
            "it was signed as ssh-ed25519, but the key signs as sk-ssh-ed25519@openssh.com",
        ),
        (Manner::Noise, "the signature is not written as SSH writes one"),
        (Manner::Gone, "token-agent cannot be asked: "),
    ];
    for (manner, why) in cases {
        let (person, server, _) = scene(manner);
        let ended = person.knock("here");
        assert_eq!(ended.code, Some(1));
        assert!(
            ended.stderr.contains(why) && ended.stderr.ends_with("; nothing was sent\n"),
            "{}",
            ended.stderr
        );
        assert!(server.is_quiet());
    }
}

/// What ssh-keygen leaves of a token's key in a file.
#[test]
fn the_file_of_a_token_wants_an_agent() {
    let (person, server, socket) = scene(Manner::Token(TOUCHED));
    let file = person.home.join(".ssh/id_ed25519_sk");
    fs::write(file.with_extension("pub"), authorized()).unwrap();
    fs::write(&file, of_file()).unwrap();
    crate::person::permit(&file, 0o600);
    let knock = |agent: &Path| {
        person.write_hosts(&server.table("here", &format!("agent = \"{}\"", agent.display())));
        person.knock("here")
    };
    assert_eq!(knock(&socket).code, Some(0));
    assert_eq!(server.hear().signer(&authorized()), "my token");
    let ended = knock(Path::new("/nobody"));
    let path = file.display();
    let why = format!(
        "knock: {path} is a FIDO token's key, with which only an ssh-agent can sign: no ssh-agent listens at \
        /nobody: "
    );
    assert!(ended.stderr.starts_with(&why), "{}", ended.stderr);
    assert!(
        ended.stderr.ends_with(&format!("; ssh-add {path} loads it; nothing was sent\n")),
        "{}",
        ended.stderr
    );
}

/// A private key's file with a handle of a token (`PROTOCOL.key`).
fn of_file() -> String {
    use ssh_key::private::SkEd25519;
    let public = PublicKey::from_bytes(&blob()).unwrap();
    let public = public.key_data().sk_ed25519().unwrap().clone();
    let token = SkEd25519::new(public, TOUCHED, vec![1; 64]).unwrap();
    let key = PrivateKey::new(KeypairData::SkEd25519(token), "my token").unwrap();
    key.to_openssh(ssh_key::LineEnding::LF).unwrap().to_string()
}
