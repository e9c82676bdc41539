//! `cargo xtask demo`: one door, from closed to closed.

use std::env;
use std::io;
use std::process::Command;
use std::time::Duration;

use lab::{Daemon, Host, Lab, PortState, Service, Session};

use crate::cargo::{cargo, succeed};
use crate::story::Story;
use crate::tools;

/// The door's ports, in an order that no scan from below or above meets.
const SEQUENCE: [&str; 4] = ["7000:tcp", "9001:udp", "8000:tcp", "5005:udp"];
/// How long the door stays open, in seconds.
const OPEN_FOR: u64 = 4;
/// What is more than enough for anything that is to happen at once.
const SOON: Duration = Duration::from_secs(3);
const SSH: u16 = 22;

/// Shows it; the error is the first step that does not hold.
pub(crate) fn run() -> io::Result<()> {
    tools::provide_for_demo()?;
    build()?;
    lab::become_root()?;
    let mut story = Story::begin();
    story.heading("toctoc: a door that is not there, until somebody knocks");
    let lab = Lab::with_clients(2)?;
    let result = tell(&mut story, &lab);
    if result.is_ok() {
        story.heading(&format!("Everything held, in {:.1} seconds.", story.elapsed().as_secs_f64()));
    }
    result
}

/// Builds what the environment does not name.
fn build() -> io::Result<()> {
    let wanted = [("LAB_KNOCKD", "knockd"), ("LAB_KNOCK", "knock")];
    let ours = wanted.iter().filter(|(variable, _)| env::var_os(variable).is_none());
    let packages: Vec<_> = ours.flat_map(|(_, package)| ["--package", package]).collect();
    if packages.is_empty() { Ok(()) } else { succeed(cargo(&["build", "--quiet"]).args(packages)) }
}

fn tell(story: &mut Story, lab: &Lab) -> io::Result<()> {
    let (server, client, stranger) = (lab.server(), lab.client(), &lab.clients()[1]);
    let addresses = (server.ip4(), client.ip4(), stranger.ip4());
    story.act(format!(
        "three hosts: server {}, client {}, stranger {}",
        addresses.0, addresses.1, addresses.2
    ));
    let _service = Service::start(server, SSH)?;
    story.act(format!("server: a service like SSH on port {SSH}, and no firewall"));
    story.check("port 22 is open for everybody", open(client, server))?;
    let config = config();
    let daemon = Daemon::of(lab::binary("knockd")?).config(&config).start(server)?;
    story.act("server: knockd, with this configuration");
    story.aside(&config);
    story.listen(&daemon);

    let door = Door { client, server, daemon: &daemon };
    door.is_shut(story, "port 22 does not answer: to a scanner, nothing is there")?;
    door.knock(story)?;
    let mut session = door.is_open(story)?;
    story.check("for the stranger, port 22 still does not answer", shut(stranger, server))?;
    door.closes(story)?;
    door.is_shut(story, "port 22 does not answer: no new connections")?;
    let alive = session.echo("and still we talk");
    story.check("the connection from before goes on", alive)
}

/// The door, with those on both sides of it.
struct Door<'a> {
    client: &'a Host,
    server: &'a Host,
    daemon: &'a Daemon,
}

impl Door<'_> {
    fn is_shut(&self, story: &Story, text: &str) -> io::Result<()> {
        story.check(text, shut(self.client, self.server))
    }

    fn knock(&self, story: &mut Story) -> io::Result<()> {
        let address = self.server.ip4().to_string();
        story.act(format!("client: knock {address} {}", SEQUENCE.join(" ")));
        let output = self.client.output(Command::new(lab::binary("knock")?).arg(&address).args(SEQUENCE))?;
        let knocked = if output.status.success() {
            Ok(())
        } else {
            Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
        };
        let heard = knocked.and_then(|()| self.daemon.wait_for_line("OPEN SESAME", SOON));
        let heard = heard.and_then(|_| self.daemon.wait_for_line("opened", SOON)).map(drop);
        story.listen(self.daemon);
        story.check("knockd has understood", heard)
    }

    fn is_open(&self, story: &Story) -> io::Result<Session> {
        let target = self.server.at4(SSH);
        story.check("for the client, port 22 is open", self.client.wait_until_open(target, SOON))?;
        let session = Session::open(self.client, target).and_then(|mut session| {
            // Long enough to take many packets.
            session.echo("toctoc ".repeat(10_000).trim_end())?;
            Ok(session)
        });
        let (session, outcome) = match session {
            Ok(session) => (Some(session), Ok(())),
            Err(error) => (None, Err(error)),
        };
        story.check("a connection: 70 kB to the server and back", outcome)?;
        session.ok_or_else(|| io::Error::other("no connection"))
    }

    fn closes(&self, story: &mut Story) -> io::Result<()> {
        story.act(format!("waiting for the door to close, {OPEN_FOR} seconds after it opened"));
        let within = Duration::from_secs(OPEN_FOR) + SOON;
        let closed = self.daemon.wait_for_line("its time is over", within).map(drop);
        let closed = closed.and_then(|()| self.client.wait_until_closed(self.server.at4(SSH), SOON));
        story.listen(self.daemon);
        story.check("the door has closed by itself", closed)
    }
}

/// Whether the port does not answer.
fn shut(client: &Host, server: &Host) -> io::Result<()> {
    match client.probe(server.at4(SSH)) {
        PortState::Filtered => Ok(()),
        other => Err(io::Error::other(format!("port {SSH} is {other:?}"))),
    }
}

/// Whether the port answers.
fn open(client: &Host, server: &Host) -> io::Result<()> {
    match client.probe(server.at4(SSH)) {
        PortState::Open => Ok(()),
        other => Err(io::Error::other(format!("port {SSH} is {other:?}"))),
    }
}

fn config() -> String {
    format!(
        "\
[ssh]
    sequence    = {}
    seq_timeout = 5
    tcpflags    = syn
    open        = {SSH}/tcp
    open_for    = {OPEN_FOR}s
",
        SEQUENCE.join(",")
    )
}
