//! What the user of the picture is doing: which grant they have chosen, what they look for.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use knock_core::control::{Attempt, Event, Grant};

use super::keys::Key;
use super::model::{GrantKey, Model};

/// How far Page Up and Page Down go.
const PAGE: isize = 10;
/// Nobody looks for more.
const MAX_FILTER: usize = 64;

/// What the keys mean just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Watching,
    /// A filter is being typed; this one was there before.
    Filtering(String),
    /// Whether this one is to be closed.
    Asking(GrantKey),
    /// The keys are explained.
    Helping,
}

/// What a key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Quit,
    Close(GrantKey),
    Suspend,
    Redraw,
}

/// What the user is doing.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) mode: Mode,
    pub(super) filter: String,
    pub(super) chosen: Option<GrantKey>,
    /// The picture that stands still, and since when.
    pub(super) paused: Option<(Box<Model>, Instant)>,
    /// What became of the last wish; `Err` where nothing did.
    pub(super) word: Option<Result<String, String>>,
}

impl Session {
    pub(super) const fn new() -> Self {
        Self { mode: Mode::Watching, filter: String::new(), chosen: None, paused: None, word: None }
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: Key, live: &Model, now: Instant) -> Option<Wanted> {
        match key {
            Key::Interrupt => return Some(Wanted::Quit),
            Key::Suspend => return Some(Wanted::Suspend),
            Key::Redraw => return Some(Wanted::Redraw),
            _ => self.word = None,
        }
        match std::mem::replace(&mut self.mode, Mode::Watching) {
            Mode::Watching => self.watching(key, live, now),
            Mode::Filtering(before) => {
                self.filtering(key, before);
                None
            }
            Mode::Asking(grant) => match key {
                Key::Letter('y' | 'Y') => Some(Wanted::Close(grant)),
                _ => None,
            },
            Mode::Helping => None,
        }
    }

    fn watching(&mut self, key: Key, live: &Model, now: Instant) -> Option<Wanted> {
        match key {
            Key::Letter('q' | 'Q') => return Some(Wanted::Quit),
            Key::Letter('p' | 'P') => {
                self.paused = match self.paused.take() {
                    Some(_) => None,
                    None => Some((Box::new(live.clone()), now)),
                }
            }
            Key::Letter('/') => self.mode = Mode::Filtering(self.filter.clone()),
            Key::Letter('?') => self.mode = Mode::Helping,
            Key::Escape => self.filter.clear(),
            Key::Letter('c' | 'C') => match self.chosen_of(self.shown(live)) {
                Some(grant) => self.mode = Mode::Asking(grant),
                None => self.word = Some(Err("nothing is open that could be closed".into())),
            },
            Key::Up | Key::Letter('k') => self.go(-1, live),
            Key::Down | Key::Letter('j') => self.go(1, live),
            Key::PageUp => self.go(-PAGE, live),
            Key::PageDown => self.go(PAGE, live),
            Key::Home => self.go(isize::MIN, live),
            Key::End => self.go(isize::MAX, live),
            _ => {}
        }
        None
    }

    fn filtering(&mut self, key: Key, before: String) {
        match key {
            Key::Escape => self.filter = before,
            Key::Enter => {}
            _ => {
                match key {
                    Key::Letter(letter) if self.filter.chars().count() < MAX_FILTER => {
                        self.filter.push(letter)
                    }
                    Key::Backspace => {
                        self.filter.pop();
                    }
                    _ => {}
                }
                self.mode = Mode::Filtering(before);
            }
        }
    }

    fn go(&mut self, steps: isize, live: &Model) {
        let keys: Vec<_> = self.grants(self.shown(live)).map(GrantKey::of).collect();
        let Some(last) = keys.len().checked_sub(1) else { return };
        let chosen = self.chosen.as_ref().and_then(|chosen| keys.iter().position(|key| key == chosen));
        let next = match chosen {
            Some(at) => at.saturating_add_signed(steps).min(last),
            None if steps == isize::MAX => last,
            None => 0,
        };
        self.chosen = keys.get(next).cloned();
    }

    /// What is looked at: what is, or what was when the picture was told to stand still.
    pub(super) fn shown<'a>(&'a self, live: &'a Model) -> &'a Model {
        self.paused.as_ref().map_or(live, |(model, _)| model)
    }

    /// The moment that is looked at.
    pub(super) fn moment(&self, now: Instant) -> Instant {
        self.paused.as_ref().map_or(now, |(_, then)| *then)
    }

    /// The grants that are looked for.
    pub(super) fn grants<'a>(&self, model: &'a Model) -> impl Iterator<Item = &'a Grant> {
        let grants = model.snapshot.grants.iter();
        grants.filter(|grant| self.is_looked_for(&grant.network, |address| grant.network.contains(address)))
    }

    /// The attempts that are looked for.
    pub(super) fn attempts<'a>(&self, model: &'a Model) -> impl Iterator<Item = &'a Attempt> {
        let attempts = model.snapshot.attempts.iter();
        attempts.filter(|attempt| self.is_looked_for(&attempt.source, |address| address == attempt.source))
    }

    /// The events that are looked for, the newest first.
    pub(super) fn events<'a>(&self, events: &'a VecDeque<Event>) -> impl Iterator<Item = &'a Event> {
        events.iter().rev().filter(|event| match event.source {
            Some(source) => self.is_looked_for(&source, |address| address == source),
            None => self.filter.is_empty(),
        })
    }

    /// Whether the filter is a part of an address, or an address that is meant.
    fn is_looked_for(&self, shown: &impl fmt::Display, is_meant: impl Fn(IpAddr) -> bool) -> bool {
        // In a flood there are very many.
        self.filter.is_empty()
            || shown.to_string().contains(&self.filter)
            || self.filter.parse().is_ok_and(is_meant)
    }

    /// The chosen grant, if it is there; the only one where none is chosen.
    pub(super) fn chosen_of(&self, model: &Model) -> Option<GrantKey> {
        let mut grants = self.grants(model).map(GrantKey::of);
        match &self.chosen {
            Some(chosen) => grants.find(|key| key == chosen),
            None => grants.next().filter(|_| grants.next().is_none()),
        }
    }
}
