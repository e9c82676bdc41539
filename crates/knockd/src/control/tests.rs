use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use knock_core::control::{EventKind, MAX_REQUEST};
use lab::TempDir;
use proptest::prelude::*;
use rustix::process::{Resource, Rlimit, Uid, setrlimit};
use rustix::thread::set_thread_res_uid;

use super::*;

const START: Timestamp = Timestamp::from_millis(1_000_000);
const PATIENCE: Duration = Duration::from_secs(10);
const STATUS: &str = "{\"request\":\"status\"}\n";
const WATCH: &str = "{\"request\":\"watch\"}\n";
const LISTEN: &str = "{\"request\":\"listen\",\"interface\":\"wg0\"}\n";

/// A server whose clock is the test's. What a client has done is there at once, so each step is a turn.
struct Server {
    directory: TempDir,
    socket: ControlSocket,
    now: Timestamp,
}

impl Server {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let socket = ControlSocket::open(&directory.path().join("socket")).unwrap();
        Self { directory, socket, now: START }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn client(&mut self, says: &str) -> UnixStream {
        let mut client = UnixStream::connect(self.path()).unwrap();
        client.write_all(says.as_bytes()).unwrap();
        client
    }

    fn turn(&mut self) -> Vec<(ConnectionId, Request)> {
        self.socket.turn(self.now)
    }

    /// The one request of this turn.
    fn asked(&mut self) -> (ConnectionId, Request) {
        let mut requests = self.turn();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    fn answer(&mut self, id: ConnectionId, answer: &Answer) {
        self.socket.answer(id, answer, self.now);
    }

    fn watcher(&mut self) -> UnixStream {
        let client = self.client(WATCH);
        let (id, request) = self.asked();
        assert_eq!(request, Request::Watch {});
        self.answer(id, &Answer::Watching {});
        client
    }

    fn connections(&self) -> usize {
        self.socket.connections.len()
    }

    /// Whether the event loop would wake up by itself.
    fn is_ready(&self) -> bool {
        let mut fds: Vec<_> =
            self.socket.fds().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    }
}

fn done(message: &str) -> Answer {
    Answer::Done { message: message.into(), warnings: vec![] }
}

fn event(message: &str) -> Event {
    let event = EventKind::Opened;
    Event { time: String::new(), door: Some("ssh".into()), source: None, event, message: message.into() }
}

/// All that comes until the server closes.
fn rest(client: &mut UnixStream) -> String {
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}

/// What has come so far.
fn so_far(client: &UnixStream) -> String {
    client.set_nonblocking(true).unwrap();
    let mut bytes = Vec::new();
    let error = (&mut &*client).read_to_end(&mut bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The line that says no. What the server has not read may reset the connection behind it.
fn refusal(client: &mut UnixStream) -> String {
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line).unwrap();
    match serde_json::from_str(&line).unwrap() {
        Answer::Error { message } => message,
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn a_request_is_answered_and_the_connection_is_over() {
    let mut server = Server::new();
    let mut client = server.client(STATUS);
    let (id, request) = server.asked();
    assert_eq!(request, Request::Status {});
    assert!(!server.is_ready(), "an answer that is owed must not wake the loop up");
    server.answer(id, &done("well"));
    assert_eq!(rest(&mut client), "{\"answer\":\"done\",\"message\":\"well\",\"warnings\":[]}\n");
    assert_eq!(server.connections(), 0);
    assert_eq!(server.socket.next_deadline(), None);
    server.answer(id, &done("again"));
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let mut server = Server::new();
    let mut client = server.client("");
    for byte in STATUS.bytes().take(STATUS.len() - 1) {
        assert_eq!(server.turn(), []);
        client.write_all(&[byte]).unwrap();
    }
    assert_eq!(server.turn(), []);
    client.write_all(b"\n").unwrap();
    assert_eq!(server.asked().1, Request::Status {});
}

#[test]
fn whoever_half_closes_has_said_all_and_still_hears() {
    let mut server = Server::new();
    let mut client = server.client(STATUS.trim_end());
    client.shutdown(Shutdown::Write).unwrap();
    let (id, _) = server.asked();
    assert!(!server.is_ready());
    server.answer(id, &done("well"));
    assert!(rest(&mut client).contains("well"));
}

#[test]
fn what_comes_behind_the_line_is_not_read() {
    let mut server = Server::new();
    let mut client = server.client(&STATUS.repeat(3));
    let (id, _) = server.asked();
    server.answer(id, &done("once"));
    assert_eq!(server.turn(), []);
    let mut line = [0; 64];
    let count = client.read(&mut line).unwrap();
    assert!(String::from_utf8_lossy(&line[..count]).contains("once"));
}

#[test]
fn whoever_says_nothing_is_closed_in_time() {
    let mut server = Server::new();
    let (mut silent, mut slow) = (server.client(""), server.client(" "));
    server.turn();
    assert_eq!(server.socket.next_deadline(), Some(START + PATIENCE));
    server.now = START + (PATIENCE - Duration::from_millis(1));
    server.turn();
    assert_eq!(server.connections(), 2);
    slow.write_all(b"{").unwrap();
    server.now = START + PATIENCE;
    server.turn();
    assert_eq!((server.connections(), server.socket.next_deadline()), (0, None));
    assert_eq!((rest(&mut silent).as_str(), rest(&mut slow).as_str()), ("", ""));
}

#[test]
fn whoever_goes_without_a_word_leaves_nothing() {
    let mut server = Server::new();
    for says in ["", "\n", "  \n", "{\"request\""] {
        drop(server.client(says));
        assert_eq!(server.turn(), [], "{says}");
        assert_eq!(server.connections(), 0, "{says}");
    }
}

#[test]
fn what_is_no_request_is_told() {
    let mut server = Server::new();
    let deep = "[".repeat(10_000);
    for says in
        ["x\n", "{}\n", "{\"request\":\"quit\"}\n", "{\"request\":\"open\"}\n", deep.as_str(), "\"\u{7f}"]
    {
        let mut client = server.client(says);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(server.turn(), []);
        assert!(refusal(&mut client).contains("expected one line of JSON"), "{says}");
    }
    let mut client = server.client("");
    client.write_all(b"{\"request\":\"\xff\"}\n").unwrap();
    assert_eq!(server.turn(), []);
    refusal(&mut client);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_request_without_end_is_refused() {
    let mut server = Server::new();
    let padded = |length: usize| " ".repeat(length + 1 - STATUS.len()) + STATUS;
    let _longest = server.client(&padded(MAX_REQUEST));
    assert_eq!(server.asked().1, Request::Status {});
    for says in [padded(MAX_REQUEST + 1), " ".repeat(MAX_REQUEST + 1)] {
        let mut client = server.client(&says);
        assert_eq!(server.turn(), []);
        let message = refusal(&mut client);
        assert!(message.contains("too long: up to 65536 bytes"), "{message}");
    }
}

#[test]
fn who_watches_hears_of_events_until_the_end() {
    let mut server = Server::new();
    server.socket.publish(&event("unheard"), START);
    let (first, second) = (server.watcher(), server.watcher());
    first.shutdown(Shutdown::Write).unwrap();
    (&second).write_all(b"whatever\n").unwrap();
    server.turn();
    assert!(!server.is_ready(), "neither wakes the loop up");
    server.now = START + 10 * PATIENCE;
    server.turn();
    server.socket.publish(&event("heard"), server.now);
    for client in [&first, &second] {
        let heard = so_far(client);
        let lines: Vec<Answer> = heard.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, [Answer::Watching {}, Answer::Event(event("heard"))]);
    }
    drop(first);
    assert!(server.is_ready());
    server.turn();
    assert!(!server.is_ready());
    assert_eq!(server.connections(), 1);
    drop(second);
    server.socket.publish(&event("nobody is left"), server.now);
    assert!(!server.socket.is_watched());
}

#[test]
fn a_watch_that_is_refused_is_none() {
    let mut server = Server::new();
    let mut client = server.client(WATCH);
    let (id, _) = server.asked();
    server.answer(id, &Answer::Error { message: "no".into() });
    assert!(!server.socket.is_watched());
    assert_eq!(refusal(&mut client), "no");
}

#[test]
fn who_watches_without_reading_is_dropped() {
    let mut server = Server::new();
    let (reader, mut idler) = (server.watcher(), server.watcher());
    let event = event(&"x".repeat(1000));
    let mut sent = 0;
    while server.connections() == 2 {
        server.socket.publish(&event, server.now);
        so_far(&reader);
        sent += 1000;
        assert!(sent < 16 << 20, "it grows without bounds");
        let waiting = server.socket.connections.iter().map(|(_, each)| each.waiting()).max();
        assert!(waiting <= Some((256 << 10) + 2000), "{waiting:?}");
    }
    assert!(sent > 256 << 10);
    assert!(server.socket.is_watched());
    assert!(rest(&mut idler).len() <= sent + sent / 5);
}

#[test]
fn who_reads_again_in_time_goes_on() {
    let mut server = Server::new();
    let client = server.watcher();
    let mut heard = so_far(&client).len();
    let mut told = heard;
    let event = event(&"x".repeat(1000));
    while server.socket.connections[0].1.waiting() < 100_000 {
        server.socket.publish(&event, server.now);
        told += line(&Answer::Event(event.clone())).len();
    }
    assert!(!server.is_ready(), "nothing can be sent");
    while heard < told {
        heard += so_far(&client).len();
        assert!(heard == told || server.is_ready());
        server.turn();
    }
    assert_eq!(server.socket.connections[0].1.waiting(), 0);
    assert!(server.socket.is_watched() && !server.is_ready());
}

#[test]
fn the_end_of_a_listener_is_told() {
    let mut server = Server::new();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let client = server.client(LISTEN);
            let (id, request) = server.asked();
            assert_eq!(request, Request::Listen { interface: "wg0".into() });
            (client, id)
        })
        .collect();
    let ids: Vec<_> = clients.iter().map(|(_, id)| *id).collect();
    server.answer(ids[0], &done("listening"));
    server.answer(ids[1], &Answer::Error { message: "no such interface".into() });
    server.answer(ids[2], &done("listening"));
    server.now = START + 10 * PATIENCE;
    server.turn();
    // The refused one is over; it listened to nothing, and is harmless to hear of.
    assert_eq!(server.socket.gone(), [ids[1]]);
    assert_eq!(server.connections(), 3);
    let mut clients = clients.into_iter();
    drop(clients.next());
    assert!(server.is_ready());
    server.turn();
    assert_eq!(server.socket.gone(), [ids[0]]);
    // One that is kept, and one that goes before its answer.
    let _kept = clients.nth(1);
    drop(clients);
    server.turn();
    server.answer(ids[3], &done("too late"));
    assert_eq!(server.socket.gone(), [ids[3]]);
    assert_eq!(server.connections(), 1);
}

#[test]
fn an_answer_that_nobody_reads_is_given_up() {
    let mut server = Server::new();
    let large = done(&"x".repeat(4 << 20));
    let mut idler = server.client(STATUS);
    let (id, _) = server.asked();
    server.answer(id, &large);
    let mut reader = server.client(STATUS);
    let (id, _) = server.asked();
    server.answer(id, &large);
    assert!(!server.is_ready(), "nothing can be sent");
    // Whoever takes a little each time gets all of it, however long that takes.
    let mut buffer = vec![0; 128 << 10];
    let mut heard = 0;
    while heard < 4 << 20 {
        let count = reader.read(&mut buffer).unwrap();
        assert!(count > 0, "it is cut off after {heard} bytes");
        heard += count;
        server.now = server.now + (PATIENCE - Duration::from_millis(1));
        server.turn();
    }
    assert!(rest(&mut reader).ends_with("}\n"));
    assert_eq!(server.connections(), 0);
    assert!(rest(&mut idler).len() < 4 << 20);
}

#[test]
fn a_connection_that_asks_nothing_makes_room() {
    let mut server = Server::new();
    let mut idle: Vec<_> = (0..MAX_CONNECTIONS).map(|_| server.client("{")).collect();
    server.turn();
    assert_eq!(server.connections(), MAX_CONNECTIONS);
    let _client = server.client(STATUS);
    assert_eq!(server.asked().1, Request::Status {});
    assert_eq!(server.connections(), MAX_CONNECTIONS);
    assert_eq!(rest(&mut idle[0]), "", "the oldest is closed");
    idle[1].write_all(&STATUS.as_bytes()[1..]).unwrap();
    assert_eq!(server.asked().1, Request::Status {});
}

#[test]
fn where_all_are_at_work_nobody_is_let_in() {
    let mut server = Server::new();
    let watchers: Vec<_> = (0..MAX_CONNECTIONS).map(|_| server.watcher()).collect();
    let mut client = server.client(STATUS);
    assert_eq!(server.turn(), []);
    assert!(refusal(&mut client).contains("too many connections"));
    assert_eq!(server.connections(), MAX_CONNECTIONS);
    drop(watchers);
    let _client = server.client(STATUS);
    server.asked();
    assert_eq!(server.connections(), 1);
}

#[test]
fn many_at_once_are_served_in_turns() {
    let mut server = Server::new();
    for _ in 0..50 {
        drop(server.client(STATUS));
        server.client("").shutdown(Shutdown::Both).unwrap();
        server.socket.turn(server.now);
    }
    while server.is_ready() {
        for (id, _) in server.socket.turn(server.now) {
            server.answer(id, &done("nobody hears it"));
        }
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn strangers_may_not_ask() {
    let mut server = Server::new();
    fs::set_permissions(server.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = server.path();
    let as_nobody = |path: PathBuf| {
        let connect = move || -> Result<UnixStream, ErrorKind> {
            let nobody = Uid::from_raw(65534);
            // Of this thread alone. Only root can, and only where there is such a user.
            set_thread_res_uid(nobody, nobody, nobody).map_err(|_| ErrorKind::Unsupported)?;
            let mut client = UnixStream::connect(path).map_err(|error| error.kind())?;
            client.write_all(STATUS.as_bytes()).unwrap();
            Ok(client)
        };
        thread::spawn(connect).join().unwrap()
    };
    match as_nobody(path.clone()) {
        Err(ErrorKind::Unsupported) => return,
        outcome => assert_eq!(outcome.unwrap_err(), ErrorKind::PermissionDenied, "the socket's mode"),
    }
    // Where somebody has opened it to all, who asks still counts.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    for _ in 0..2 * MAX_CONNECTIONS {
        let mut client = as_nobody(path.clone()).unwrap();
        assert_eq!(server.turn(), []);
        assert!(refusal(&mut client).contains("only root"));
        assert_eq!(server.connections(), 0);
    }
}

#[test]
fn without_descriptors_the_loop_rests() {
    let name = "control::tests::without_descriptors_the_loop_rests_inside";
    let inner =
        Command::new(env::current_exe().unwrap()).args(["--exact", name, "--ignored"]).output().unwrap();
    let told = String::from_utf8_lossy(&inner.stdout);
    assert!(inner.status.success() && told.contains("1 passed"), "{told}");
}

/// In a process of its own: the limit is the whole process's.
#[test]
#[ignore = "run by the test of the same name"]
fn without_descriptors_the_loop_rests_inside() {
    let mut server = Server::new();
    let _client = server.client(STATUS);
    let lowest = fs::File::open("/dev/null").map(|file| std::os::fd::AsRawFd::as_raw_fd(&file)).unwrap();
    let limit =
        |most| setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(4096) }).unwrap();
    limit(lowest as u64);
    assert_eq!(server.turn(), []);
    assert!(!server.is_ready(), "who waits must not wake the loop up");
    assert_eq!(server.socket.next_deadline(), Some(START + REST));
    limit(4096);
    server.now = START + REST;
    assert_eq!(server.asked().1, Request::Status {});
}

#[test]
fn only_the_owner_has_access_to_the_socket() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run/knockd/socket");
    let _socket = ControlSocket::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let parent = fs::metadata(directory.path().join("run/knockd")).unwrap().mode() & 0o777;
    assert!(parent & 0o022 == 0 && parent & 0o700 == 0o700, "{parent:o}");
}

#[test]
fn a_left_over_socket_is_replaced() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let mut socket = ControlSocket::open(&path).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    assert_eq!(socket.turn(START), []);
    drop(socket);
    assert!(!path.exists(), "it is gone with the daemon");
}

#[test]
fn a_daemon_that_lives_keeps_its_socket() {
    let mut server = Server::new();
    let error = ControlSocket::open(&server.path()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains("a daemon listens there already"), "{error}");
    // Nor where it is too busy to accept.
    let path = server.path();
    let busy = thread::spawn(move || {
        let waiting: Vec<_> = std::iter::from_fn(|| connect_at_once(&path)).collect();
        (ControlSocket::open(&path).err().map(|error| error.kind()), waiting.len())
    });
    let (error, waiting) = busy.join().unwrap();
    assert!(waiting > 32);
    assert_eq!(error, Some(ErrorKind::AddrInUse));
    while server.is_ready() {
        server.turn();
    }
    let _client = server.client(STATUS);
    server.asked();
}

/// A connection, unless too many wait.
fn connect_at_once(path: &Path) -> Option<std::os::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    connect(&socket, &SocketAddrUnix::new(path).unwrap()).ok().map(|()| socket)
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    directory.write("file", "precious").unwrap();
    fs::create_dir(path("directory")).unwrap();
    drop(UnixListener::bind(path("stale")).unwrap());
    symlink(path("stale"), path("link")).unwrap();
    symlink(path("nowhere"), path("dangling")).unwrap();
    for name in ["file", "directory", "link", "dangling"] {
        let error = ControlSocket::open(&path(name)).err().unwrap();
        assert!(error.to_string().contains("something that is no socket"), "{name}: {error}");
        assert!(fs::symlink_metadata(path(name)).is_ok(), "{name}");
    }
    assert_eq!(directory.read("file"), "precious");
    assert!(path("stale").exists());
    let error = ControlSocket::open(&path(&"x".repeat(108))).err().unwrap();
    assert!(error.to_string().contains("107 bytes"), "{error}");
}

#[test]
fn what_another_daemon_has_put_there_is_not_removed() {
    let server = Server::new();
    let path = server.path();
    fs::remove_file(&path).unwrap();
    let _other = ControlSocket::open(&path).unwrap();
    let Server { socket, directory: _directory, .. } = server;
    drop(socket);
    assert!(UnixStream::connect(&path).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever is said, in whatever pieces: it is a request, it is refused, or it is over.
    #[test]
    fn nothing_that_is_said_does_harm(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8)) {
        let mut server = Server::new();
        let mut client = server.client("");
        for piece in pieces {
            // The server may have had enough.
            let _ = client.write_all(&piece);
            server.turn();
        }
        let _ = client.shutdown(Shutdown::Write);
        prop_assert_eq!(server.turn(), []);
        prop_assert_eq!(server.connections(), 0);
    }
}
