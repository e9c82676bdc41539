//! The socket to nf_tables: sends transactions, reads lists.

use std::io;

use knock_linux::netlink::{Attributes, Message, Messages, Netlink, messages};

use super::{Family, HEADER, Transaction, header, kind};
use crate::Error;

/// How often a list that changes while it is read is read anew.
const PATIENCE: usize = 20;

/// A socket to nf_tables.
pub(crate) struct Link {
    netlink: Netlink,
    sequence: u32,
    answer: Vec<u8>,
}

impl Link {
    pub(crate) fn open() -> Result<Self, Error> {
        let open = || {
            let netlink = Netlink::open(libc::NETLINK_NETFILTER)?;
            // Without it errors are just shorter.
            let _ = netlink.explain_errors();
            Ok(Self { netlink, sequence: 1, answer: Vec::new() })
        };
        open().map_err(|error| Error::system("reach the kernel's firewall", error))
    }

    /// What the kernel's messages about changes made here carry.
    pub(crate) fn port(&self) -> u32 {
        self.netlink.port()
    }

    /// Begins a transaction.
    pub(crate) fn begin<'a>(&self, family: Family, table: &'a str) -> Transaction<'a> {
        Transaction::new(family, table, self.sequence)
    }

    /// Makes a transaction's changes, all or none.
    pub(crate) fn commit(&mut self, doing: &'static str, transaction: Transaction<'_>) -> Result<(), Error> {
        if transaction.is_empty() {
            return Ok(());
        }
        let (messages, last) = transaction.finish();
        self.sequence = last.wrapping_add(2);
        self.netlink.send(messages.as_bytes()).map_err(|error| Error::system(doing, error))?;
        self.await_word(doing, last)
    }

    /// The kernel has answered before `send` returns: either one word of success, or one error for each change that
    /// is wrong, of which the first counts.
    fn await_word(&mut self, doing: &'static str, last: u32) -> Result<(), Error> {
        let mut failure = None;
        loop {
            match self.netlink.receive_now(&mut self.answer) {
                Ok(answer) => {
                    for message in messages(answer) {
                        match message.failure() {
                            Some(found) => failure = failure.or(Some(found)),
                            None if failure.is_none() && message.sequence == last => return Ok(()),
                            None => {}
                        }
                    }
                }
                // There were more errors than the kernel could keep, of which the first are there.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(failure.map_or_else(
                        || Error::system(doing, error),
                        |failure| Error::refused(doing, failure),
                    ));
                }
            }
        }
    }

    /// Reads a list (`NFT_MSG_GET...`), of which `fill` may narrow the choice, and hands over each entry's attributes
    /// with its family.
    pub(crate) fn list<T: Default>(
        &mut self,
        doing: &'static str,
        (message, family): (i32, Family),
        fill: impl Fn(&mut Attributes<'_>),
        mut each: impl FnMut(&mut T, Family, &[u8]),
    ) -> Result<T, Error> {
        for _ in 0..PATIENCE {
            let (mut found, mut request) = (T::default(), Messages::new());
            self.sequence = self.sequence.wrapping_add(1);
            let title = (kind(message), libc::NLM_F_DUMP, self.sequence);
            request.add(title, &header(family, 0), |attributes| fill(attributes));
            let read = self.netlink.dump(&request, |entry: Message<'_>| {
                if let (Some(family), Some(attributes)) = (entry.body.first(), entry.body.get(HEADER..)) {
                    each(&mut found, Family(*family), attributes);
                }
            });
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::system(doing, error)),
                Ok(()) => return Ok(found),
            }
        }
        Err(Error::system(doing, io::Error::other("it changes faster than it can be read")))
    }
}
