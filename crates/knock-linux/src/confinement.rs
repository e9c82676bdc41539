//! Giving up power for good, layer by layer.
//!
//! A process that reads what strangers send keeps only what it needs for that. Each layer stands for itself: where the
//! kernel does not have one, or the process may not put it on, the others hold all the same, and what each came to is told.

mod calls;
mod files;
mod privileges;

use std::os::fd::RawFd;

use knock_core::control::{Layer, LayerState};

use crate::probe;

/// What is left to the process.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// It goes on as this user and group, where it may become them.
    pub user: Option<User>,
    /// The one descriptor that it writes to.
    pub channel: RawFd,
    /// A socket through which it asks the kernel about sockets.
    pub sockets: Option<RawFd>,
}

/// A user and a group, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub id: u32,
    /// The group.
    pub group: u32,
}

/// Confines the calling process, which must have one thread, to what is left; tells what each layer came to.
pub fn confine(left: &Left) -> Vec<Layer> {
    let layers: [(&str, &dyn Fn() -> Layer); 5] = [
        (privileges::LIMITS, &privileges::limit),
        (privileges::USER, &|| privileges::become_user(left.user)),
        (privileges::CAPABILITIES, &privileges::drop_capabilities),
        (files::NAME, &files::forbid),
        // The last one, since the others need calls that this one forbids.
        (calls::NAME, &|| calls::forbid(left)),
    ];
    // All questions come first: with some layers on no child can be had.
    let possible = layers.map(|(_, put_on)| probe::is_survived(|| drop(put_on())));
    let put_on = |((name, put_on), possible): ((&str, &dyn Fn() -> Layer), bool)| {
        if possible { put_on() } else { off(name, "a filter of system calls would end whoever puts it on") }
    };
    layers.into_iter().zip(possible).map(put_on).collect()
}

/// A layer that is on as it should be.
fn on(name: &str, message: impl Into<String>) -> Layer {
    Layer { name: name.into(), state: LayerState::On, message: message.into() }
}

/// A layer that is missing, or holds in part only.
fn off(name: &str, message: impl Into<String>) -> Layer {
    Layer { name: name.into(), state: LayerState::Off, message: message.into() }
}
