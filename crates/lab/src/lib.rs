//! A laboratory for network programs: hosts made of network namespaces, wired as a test wants them.
//!
//! ```no_run
//! # use std::time::Duration;
//! # fn main() -> std::io::Result<()> {
//! let lab = lab::Lab::pair()?;
//! let (client, server) = (lab.client(), lab.server());
//! let ssh = lab::Service::start(server, 22)?;
//! let daemon = lab::Daemon::of(lab::binary("knockd")?)
//!     .config("[options]\n[door]\nsequence = 7000,8000:udp\ncommand = touch {dir}/opened\n")
//!     .start(server)?;
//! client.knock(server.ip4(), "7000,8000:udp")?;
//! daemon.wait_for_line("OPEN SESAME", Duration::from_secs(2))?;
//! assert_eq!(client.probe(server.at4(22)), lab::PortState::Open);
//! # drop(ssh);
//! # Ok(())
//! # }
//! ```
//!
//! Everything needs root, or root in a user namespace (see [`become_root`]), and iproute2's `ip`. Nothing has a name
//! in the machine's own tables: no interface, no entry in `/run/netns`. What a test makes is gone when it is dropped,
//! so any number of labs can stand side by side in one process.
//!
//! This is test equipment: a function whose failure is the test's verdict returns an [`io::Result`](std::io::Result)
//! whose message tells the whole story; one whose failure means that the laboratory itself is broken panics.

mod binaries;
mod bus;
mod capture;
mod daemon;
mod flood;
mod frame;
mod host;
mod knock;
mod lines;
mod probe;
mod process;
mod root;
mod sender;
mod service;
mod side_by_side;
mod temp;
mod topology;
mod volley;
mod wait;

pub use binaries::binary;
pub use bus::BUS;
pub use capture::{Capture, Protocol, Seen};
pub use daemon::{Daemon, DaemonBuilder};
pub use flood::{Flood, Packet, Random, Sent, Sources, Traffic};
pub use frame::{Extension, Frame, TcpFlags};
pub use host::{Host, connect};
pub use lines::{Line, Stream};
pub use probe::PortState;
pub use process::Process;
pub use root::{as_root, become_root, has_tool, is_root};
pub use rustix::process::Signal;
pub use sender::Sender;
pub use service::{Service, Session};
pub use side_by_side::side_by_side;
pub use temp::TempDir;
pub use topology::Lab;
pub use volley::Volley;
pub use wait::wait_until;
