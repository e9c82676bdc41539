//! Word of changes to nftables tables, ours and others'.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use knock_linux::netlink::{Message, Netlink, attribute, messages, text};

use crate::nft::{self, Family, HEADER, attribute as nfta};
use crate::{Error, TABLE};

/// How much word may wait, in bytes.
const ROOM: usize = 8 << 20;

/// Hears of changes that others make; the descriptor becomes readable then.
pub struct Monitor {
    netlink: Netlink,
    own: u32,
}

/// What has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Somebody else has changed our table, or elements in it.
    pub ours: bool,
    /// So much has changed, perhaps by ourselves, that the kernel could not tell it all: anything may have happened.
    pub lost: bool,
    /// Somebody has changed other tables' chains, rules or sets, but not only elements of sets.
    pub others: bool,
}

impl Monitor {
    /// Begins to listen, in the calling thread's network namespace. What is changed through the socket of port `own`
    /// ([`Table::port`](crate::Table::port)) is no news.
    ///
    /// # Errors
    /// Where the kernel has no nf_tables.
    pub fn open(own: u32) -> Result<Self, Error> {
        let open = || {
            let mut netlink = Netlink::open(libc::NETLINK_NETFILTER)?;
            netlink.set_non_blocking()?;
            // Without it word is lost sooner.
            let _ = netlink.make_room_for_word(ROOM);
            netlink.join(libc::NFNLGRP_NFTABLES as u32)?;
            Ok(Self { netlink, own })
        };
        open().map_err(|error| Error::system("listen for changes of the firewall", error))
    }

    /// What has changed since the last call. What is there now is for others to read: word may get lost.
    pub fn changes(&self) -> Changes {
        let (mut changes, mut buffer) = (Changes::default(), Vec::new());
        loop {
            match self.netlink.receive(&mut buffer) {
                Ok(datagram) => messages(datagram).for_each(|message| self.note(message, &mut changes)),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    (changes.lost, changes.others) = (true, true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return changes,
            }
        }
    }

    fn note(&self, message: Message<'_>, changes: &mut Changes) {
        let Some(which) = nft::message_of(message.kind).filter(|which| *which != libc::NFT_MSG_NEWGEN) else {
            return;
        };
        let table = message.body.get(HEADER..).and_then(|list| attribute(list, nfta::TABLE)).map(text);
        let inet = message.body.first() == Some(&Family::INET.0);
        let of_elements = matches!(which, libc::NFT_MSG_NEWSETELEM | libc::NFT_MSG_DELSETELEM);
        if inet && table.as_deref() == Some(TABLE) {
            changes.ours |= message.port != self.own;
        } else {
            changes.others |= !of_elements;
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}
