//! Netlink: a socket to the kernel, and the messages and attributes that go over it (`netlink(7)`).
//!
//! What comes from the kernel is read with all its lengths checked; what does not fit ends a list.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt;

/// The largest datagram that the kernel makes of several messages is half of this.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// A message's header: length, type, flags, sequence number, port.
const MESSAGE_HEADER: usize = 16;
/// An attribute's header: length, type.
const ATTRIBUTE_HEADER: usize = 4;
/// Marks an attribute that holds others.
const NESTED: u16 = libc::NLA_F_NESTED as u16;
/// What is left of an attribute's type without its marks.
const TYPE: u16 = libc::NLA_TYPE_MASK as u16;

/// A socket that talks with the kernel alone.
pub struct Netlink {
    socket: Socket,
    port: u32,
}

impl Netlink {
    /// Opens a socket of a protocol, such as `libc::NETLINK_ROUTE`, in the calling thread's network namespace.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` where the kernel does not know the protocol.
    pub fn open(protocol: i32) -> io::Result<Self> {
        let mut socket = Socket::new(protocol as isize)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, port })
    }

    /// The number by which the kernel knows this socket; messages about what it has changed carry it.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Lets errors come with the kernel's own words ([`Failure::words`]) and without what they are about.
    ///
    /// # Errors
    /// `ENOPROTOOPT` where the kernel is older than 4.12.
    pub fn explain_errors(&self) -> io::Result<()> {
        self.socket.set_ext_ack(true)?;
        self.socket.set_cap_ack(true)
    }

    /// Becomes a member of a multicast group, such as `libc::RTNLGRP_LINK`.
    ///
    /// # Errors
    /// `EINVAL` where there is no such group.
    pub fn join(&mut self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }

    /// Lets [`receive`](Self::receive) fail with `WouldBlock` where nothing has come.
    ///
    /// # Errors
    /// What `fcntl(2)` says.
    pub fn set_non_blocking(&self) -> io::Result<()> {
        self.socket.set_non_blocking(true)
    }

    /// Lets so many bytes wait to be received; with `CAP_NET_ADMIN` beyond the system's limit (`net.core.rmem_max`), too.
    ///
    /// # Errors
    /// `EPERM` without it.
    pub fn make_room_for_word(&self, bytes: usize) -> io::Result<()> {
        Ok(sockopt::set_socket_recv_buffer_size_force(self, bytes)?)
    }

    /// Sends messages, as one datagram of any length that memory allows; with `CAP_NET_ADMIN` in the first user
    /// namespace beyond the system's limit (`net.core.wmem_max`), too.
    ///
    /// # Errors
    /// `EMSGSIZE` beyond that limit.
    pub fn send(&self, messages: &[u8]) -> io::Result<()> {
        match self.socket.send(messages, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                self.make_room(messages.len())?;
                self.socket.send(messages, 0).map(drop)
            }
            sent => sent.map(drop),
        }
    }

    fn make_room(&self, length: usize) -> io::Result<()> {
        let room = length.saturating_add(RECEIVE_BUFFER);
        sockopt::set_socket_send_buffer_size_force(self, room)
            .or_else(|_| sockopt::set_socket_send_buffer_size(self, room))
            .map_err(io::Error::from)
    }

    /// Waits for a datagram and returns its messages in place of what `buffer` held.
    ///
    /// # Errors
    /// `ENOBUFS` where so much has come that the kernel could not keep it all; the next call goes on behind the gap.
    pub fn receive<'a>(&self, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        self.receive_with(buffer, 0)
    }

    /// As [`receive`](Self::receive), but without waiting.
    ///
    /// # Errors
    /// `WouldBlock` where nothing has come; `ENOBUFS` as there.
    pub fn receive_now<'a>(&self, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        self.receive_with(buffer, libc::MSG_DONTWAIT)
    }

    fn receive_with<'a>(&self, buffer: &'a mut Vec<u8>, flags: i32) -> io::Result<&'a [u8]> {
        buffer.clear();
        buffer.reserve(RECEIVE_BUFFER);
        self.socket.recv(buffer, flags)?;
        Ok(buffer)
    }

    /// Sends a request that a list answers, and hands over each message of it.
    ///
    /// # Errors
    /// What the kernel says; `Interrupted` where the list has changed while it was read, so that it may be neither
    /// what was nor what is. Ask again then.
    pub fn dump(&self, request: &Messages, mut each: impl FnMut(Message<'_>)) -> io::Result<()> {
        let (mut buffer, mut whole) = (Vec::new(), true);
        let sequence = messages(request.as_bytes()).next().map(|message| message.sequence);
        self.send(request.as_bytes())?;
        loop {
            let answers = messages(self.receive(&mut buffer)?);
            for message in answers.filter(|message| Some(message.sequence) == sequence) {
                whole &= i32::from(message.flags) & libc::NLM_F_DUMP_INTR == 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE if whole => return Ok(()),
                    libc::NLMSG_DONE => return Err(io::ErrorKind::Interrupted.into()),
                    libc::NLMSG_ERROR => {
                        return message.failure().map_or(Ok(()), |failure| Err(failure.error));
                    }
                    _ => each(message),
                }
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // netlink-sys implements `AsRawFd` alone; the borrow lives no longer than the socket.
        borrowed(&self.socket)
    }
}

#[allow(unsafe_code, reason = "netlink-sys hands out raw descriptors only")]
fn borrowed(socket: &Socket) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as `socket` lives, and the result borrows it.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its type.
    pub kind: u16,
    /// Its flags (`NLM_F_...`).
    pub flags: u16,
    /// The number of the request that it belongs to.
    pub sequence: u32,
    /// The socket whose request it comes from.
    pub port: u32,
    /// What is behind the header.
    pub body: &'a [u8],
}

/// What the kernel has refused.
#[derive(Debug)]
pub struct Failure {
    /// Its `errno`.
    pub error: io::Error,
    /// Its own words, where it has some.
    pub words: Option<String>,
}

impl Message<'_> {
    /// What is wrong, where this is an `NLMSG_ERROR` and not an acknowledgement.
    pub fn failure(self) -> Option<Failure> {
        const CODE_AND_HEADER: usize = 4 + MESSAGE_HEADER;
        const NLMSGERR_ATTR_MSG: u16 = 1;
        if i32::from(self.kind) != libc::NLMSG_ERROR {
            return None;
        }
        let code = u32_at(self.body, 0).unwrap_or_default() as i32;
        let about = attributes(self.body.get(CODE_AND_HEADER..).unwrap_or_default());
        let words = about.filter(|(kind, _)| *kind == NLMSGERR_ATTR_MSG).map(|(_, value)| text(value)).next();
        (code != 0).then(|| Failure { error: io::Error::from_raw_os_error(code.saturating_neg()), words })
    }
}

/// The messages of a datagram, up to the first that does not fit.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            port: u32_at(bytes, 12)?,
            body: bytes.get(MESSAGE_HEADER..length)?,
        };
        bytes = behind(bytes, length);
        Some(message)
    })
}

/// The attributes (type, value) of a list, up to the first that does not fit.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & TYPE;
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = behind(bytes, length);
        Some((kind, value))
    })
}

/// What follows behind so many bytes and what fills them up to the next one's place.
pub(crate) fn behind(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(4)..).unwrap_or_default()
}

/// The value of the first attribute of a type.
pub fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// An address of either family.
pub fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok().or_else(v4)
}

/// Text, which ends at the first zero.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// A number in the machine's order, so many bytes from the beginning.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

/// A number in the machine's order, so many bytes from the beginning.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// Messages to the kernel, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    bytes: Vec<u8>,
    /// Where the last one begins.
    last: usize,
}

impl Messages {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// All of them, ready to be sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a message: its type, flags (`NLM_F_REQUEST` is added), number, what its protocol wants before the
    /// attributes, and what `fill` puts behind that.
    pub fn add(
        &mut self,
        (kind, flags, sequence): (u16, i32, u32),
        header: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.last = start;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        let mut attributes = Attributes { bytes: &mut self.bytes };
        attributes.align();
        fill(&mut attributes);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        overwrite(&mut self.bytes, start, &length.to_ne_bytes());
    }

    /// Asks for word of the last one's success; of its failure there is word anyway.
    pub fn ask_for_word(&mut self) {
        const FLAGS: usize = 6;
        let at = self.last + FLAGS;
        let flags = u16_at(&self.bytes, at).unwrap_or_default() | libc::NLM_F_ACK as u16;
        overwrite(&mut self.bytes, at, &flags.to_ne_bytes());
    }
}

/// The end of a message that is being written.
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// Adds an attribute. One of 64 KiB or more is more than a length can say, and the kernel refuses the message.
    pub fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.attribute(kind, |attributes| attributes.bytes.extend_from_slice(value))
    }

    /// Adds text, with the zero that ends it.
    pub fn put_text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.attribute(kind, |attributes| {
            attributes.bytes.extend_from_slice(value.as_bytes());
            attributes.bytes.push(0);
        })
    }

    /// Adds a number in the network's order.
    pub fn put_be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// Adds a number in the network's order.
    pub fn put_be64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// Adds an attribute that holds others.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.attribute(kind | NESTED, |attributes| fill(attributes))
    }

    fn attribute(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(0);
        overwrite(self.bytes, start, &length.to_ne_bytes());
        self.align();
        self
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..with.len())) {
        place.copy_from_slice(with);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_that_do_not_fit_end_the_list() {
        let good = [8, 0, 3, 0, b'l', b'o', 0, 0];
        let found: Vec<_> = attributes(&good).collect();
        assert_eq!(found, [(3, &b"lo\0\0"[..])]);
        for lying in [[9, 0, 3, 0], [3, 0, 3, 0], [0, 0, 0, 0]] {
            assert_eq!(attributes(&lying).count(), 0, "{lying:?}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let mut written = Messages::new();
        written.add((7, 0, 3), &[2, 0, 0], |message| {
            message.put_text(1, "door").nest(2, |inner| {
                inner.put_be32(5, 0x0102_0304).put(6, &[9]);
            });
        });
        written.ask_for_word();
        written.add((8, 0, 4), &[], |_| {});
        let read: Vec<_> = messages(written.as_bytes()).collect();
        let [first, second] = read[..] else { panic!("two were written: {read:?}") };
        assert_eq!((first.kind, first.sequence, second.kind, second.body), (7, 3, 8, &[][..]));
        assert_eq!(i32::from(first.flags), libc::NLM_F_ACK | libc::NLM_F_REQUEST);
        let list = &first.body[4..];
        assert_eq!(attribute(list, 1).map(text).as_deref(), Some("door"));
        let inner: Vec<_> = attributes(attribute(list, 2).unwrap()).collect();
        assert_eq!(inner, [(5, &[1, 2, 3, 4][..]), (6, &[9][..])]);
    }

    #[test]
    fn the_kernel_says_what_it_refuses() {
        let route = Netlink::open(libc::NETLINK_ROUTE).unwrap();
        let mut request = Messages::new();
        request.add((u16::MAX - 1, libc::NLM_F_DUMP, 1), &[0; 16], |_| {});
        let error = route.dump(&request, |_| {}).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                let _ = message.failure();
                prop_assert!(attributes(message.body).count() <= bytes.len());
            }
        }
    }
}
