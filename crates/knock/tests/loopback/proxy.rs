//! `--proxy`: what goes in and out, byte by byte, and how either side ends.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread;

use crate::client::{Ear, V4, closed_port};
use crate::hosts::Home;

/// More than all buffers on the way hold.
const MUCH: usize = 20_000_000;

/// A service, and a client that is connected to it behind a knock.
struct Scene {
    ear: Ear,
    home: Home,
    listener: TcpListener,
}

impl Scene {
    fn new() -> Self {
        let (ear, listener) = (Ear::at(V4), TcpListener::bind((V4, 0)).unwrap());
        let home = Home::with(&format!("[here]\nhost = \"127.0.0.1\"\nsequence = \"{}:udp\"\n", ear.port()));
        Self { ear, home, listener }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn start(&self, options: &[&str], host: &str) -> Child {
        let mut command = self.home.command();
        command.args(options).args(["--proxy", host, &self.address().port().to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn accept(&self) -> TcpStream {
        self.listener.accept().unwrap().0
    }
}

/// Bytes that are no text, and that no two places have alike for long.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// All that the client writes, and how it ends.
fn end(child: Child) -> (Option<i32>, Vec<u8>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn much_goes_both_ways_at_once() {
    let scene = Scene::new();
    let mut client = scene.start(&[], "here");
    let mut stdin = client.stdin.take().unwrap();
    let sent = bytes(MUCH);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            stdin.write_all(&sent).unwrap();
            drop(stdin);
        });
        let server = scope.spawn(|| {
            let mut stream = scene.accept();
            let mut echo = stream.try_clone().unwrap();
            std::io::copy(&mut stream, &mut echo).unwrap();
            echo.shutdown(Shutdown::Write).unwrap();
        });
        let (code, stdout, stderr) = end(client);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert!(stdout == sent, "{} of {MUCH} bytes, or others", stdout.len());
        writer.join().unwrap();
        server.join().unwrap();
    });
    scene.ear.hear();
    assert!(scene.ear.is_quiet());
}

/// The other side answers when it has heard everything: it must learn of the end, and its answer must arrive.
#[test]
fn the_end_of_the_input_is_passed_on_and_the_answer_is_waited_for() {
    let scene = Scene::new();
    let mut client = scene.start(&[], "here");
    client.stdin.take().unwrap().write_all(b"question").unwrap();
    let mut stream = scene.accept();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "question");
    stream.write_all(b"answer").unwrap();
    drop(stream);
    assert_eq!(end(client), (Some(0), b"answer".to_vec(), String::new()));
}

/// The other side has nothing more to say, and goes on to listen.
#[cfg(unix)]
#[test]
fn the_end_of_the_output_is_passed_on_and_the_input_goes_on() {
    let scene = Scene::new();
    let mut client = scene.start(&[], "here");
    let mut stream = scene.accept();
    stream.write_all(b"that is all").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = Vec::new();
    client.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    assert_eq!(said, b"that is all");
    client.stdin.take().unwrap().write_all(b"still here").unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "still here");
    assert_eq!(end(client), (Some(0), Vec::new(), String::new()));
}

#[test]
fn what_is_written_without_an_end_of_line_arrives_at_once() {
    let scene = Scene::new();
    let mut client = scene.start(&[], "here");
    let mut stream = scene.accept();
    let (mut stdin, mut stdout) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let mut byte = [0];
    for letter in *b"to and fro" {
        stdin.write_all(&[letter]).unwrap();
        stream.read_exact(&mut byte).unwrap();
        stream.write_all(&byte).unwrap();
        stdout.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [letter]);
    }
    drop((stdin, stream));
    assert_eq!(end(client).0, Some(0));
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let scene = Scene::new();
    let mut client = scene.start(&[], "here");
    let mut stream = scene.accept();
    drop(client.stdout.take());
    // Until it has noticed.
    while stream.write_all(&[0; 4096]).is_ok() {}
    assert_eq!(end(client), (Some(0), Vec::new(), String::new()));
}

#[test]
fn the_address_will_do_and_verbose_leaves_the_output_alone() {
    let scene = Scene::new();
    let mut client = scene.start(&["-v"], "127.0.0.1");
    scene.accept().write_all(b"hello").unwrap();
    drop(client.stdin.take());
    let hitting = format!("knock: hitting udp 127.0.0.1:{}\n", scene.ear.port());
    assert_eq!(end(client), (Some(0), b"hello".to_vec(), hitting));
}

#[test]
fn a_port_that_does_not_open_is_told_shortly() {
    let ear = Ear::at(V4);
    let home = Home::with(&format!(
        "retry = 0\ntimeout = 0.3\n[here]\nhost = \"127.0.0.1\"\nsequence = \"{}:udp\"\n",
        ear.port()
    ));
    let port = closed_port();
    let ended = home.knock(&format!("--proxy here {port}"));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(4), ""));
    let begin =
        format!("knock: 127.0.0.1:{port} did not open: it refuses connections; nothing listens there");
    assert!(ended.stderr.starts_with(&begin), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 2, "{}", ended.stderr);
    ear.hear();
    assert!(ear.is_quiet());
}
