//! A name server for one name, which gives another address each time it is asked.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lab::Host;

/// The port of name servers.
pub(crate) const PORT: u16 = 53;

const NAME: &[u8] = b"\x04turn\x03lab\x00";
const HEADER: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];
const NO_ERROR: u8 = 0;
const NO_SUCH_NAME: u8 = 3;

/// Answers `turn.lab` with its addresses in turn, and says of every other name that there is none.
pub(crate) struct NameServer(Arc<AtomicUsize>);

impl NameServer {
    /// Starts it on `host`; it ends with the process.
    pub(crate) fn start(host: &Host, turns: [Ipv4Addr; 2]) -> io::Result<Self> {
        let socket = host.run(|| UdpSocket::bind((host.ip4(), PORT)))?;
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        thread::spawn(move || serve(&socket, &counter, turns));
        Ok(Self(asked))
    }

    /// Begins again with the first address.
    pub(crate) fn begin_again(&self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

fn serve(socket: &UdpSocket, asked: &AtomicUsize, turns: [Ipv4Addr; 2]) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        if let Some(answer) = answer(&buffer[..length], asked, turns) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// RFC 1035, section 4: the header and the question again, then at most one record.
fn answer(query: &[u8], asked: &AtomicUsize, turns: [Ipv4Addr; 2]) -> Option<Vec<u8>> {
    let id = query.get(..2)?;
    let question = query.get(HEADER..)?;
    let name = question.split_inclusive(|&byte| byte == 0).next()?;
    let kind = question.get(name.len()..name.len() + 2)?;
    let class = question.get(name.len() + 2..name.len() + 4)?;
    let is_known = name.eq_ignore_ascii_case(NAME);
    let records = u8::from(is_known && kind == TYPE_A);
    let code = if is_known { NO_ERROR } else { NO_SUCH_NAME };
    let mut answer = [id, &[0x81, 0x80 | code, 0, 1, 0, records, 0, 0, 0, 0], name, kind, class].concat();
    if records == 1 {
        let turn = turns[asked.fetch_add(1, Ordering::SeqCst) % turns.len()];
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(turn.octets());
    }
    Some(answer)
}
