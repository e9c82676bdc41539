//! The way through a document, block by block: none is passed over unseen.

use std::collections::VecDeque;
use std::io;

use lab::wait_until;

use crate::block::{Block, blocks_of};
use crate::place::Place;
use crate::town::{SOON, Town};

/// A document whose blocks are done one after the other, each as it stands there.
pub(crate) struct Walk<'a> {
    town: &'a Town<'a>,
    document: &'static str,
    blocks: VecDeque<Block>,
    /// What stands in the document for what everybody has otherwise, and what it is here.
    ours: Vec<(String, String)>,
}

impl<'a> Walk<'a> {
    pub(crate) fn through(document: &'static str, town: &'a Town<'a>) -> io::Result<Self> {
        Ok(Self { town, document, blocks: blocks_of(document)?.into(), ours: Vec::new() })
    }

    /// The same through one chapter alone.
    pub(crate) fn through_chapter(
        document: &'static str,
        chapter: &str,
        town: &'a Town<'a>,
    ) -> io::Result<Self> {
        let mut walk = Self::through(document, town)?;
        walk.blocks.retain(|block| block.chapter == chapter);
        assert!(!walk.blocks.is_empty(), "{document} has no chapter {chapter}");
        Ok(walk)
    }

    /// From now on this sequence of the document is the one that a door really has: they are random.
    pub(crate) fn sequence(&mut self, shown: &str, door: &str) -> io::Result<()> {
        let real = self.town.sequence(door)?;
        let typed = |sequence: &str| sequence.replace(',', " ");
        self.ours.push((typed(shown), typed(&real)));
        self.ours.push((shown.to_owned(), real));
        Ok(())
    }

    /// From now on what the document shows is this here: keys are random, too.
    pub(crate) fn same(&mut self, shown: &str, real: &str) {
        self.ours.push((shown.to_owned(), real.to_owned()));
    }

    /// Runs the next block, which has this `part` in it and has to succeed, and compares what it prints with what the
    /// document says. Returns it.
    pub(crate) fn step(&mut self, part: &str) -> io::Result<String> {
        let (place, script) = self.next_script(part);
        let told = place.sh(&script)?;
        if let Some(shown) = self.next_text() {
            let missing = missing(&shown, &told);
            assert!(missing.is_empty(), "{}: {part}: {missing:?} is not in\n{told}", self.document);
        }
        Ok(told)
    }

    /// The same for one that looks at what comes about by itself: it is run until it prints what the document says.
    pub(crate) fn shows(&mut self, part: &str) -> io::Result<String> {
        let (place, script) = self.next_script(part);
        let shown = self.next_text();
        assert!(shown.is_some(), "{}: {part}: the document does not say what it prints", self.document);
        let (shown, mut told) = (shown.unwrap_or_default(), String::new());
        wait_until(&format!("{}: {part}: {shown}", self.document), SOON, || {
            told = place.sh(&script).unwrap_or_else(|error| error.to_string());
            missing(&shown, &told).is_empty()
        })
        .map_err(|error| io::Error::new(error.kind(), format!("{error}\n{told}")))?;
        Ok(told)
    }

    /// Writes the next block, a file, to where the document says.
    pub(crate) fn file(&mut self, path: &str) -> io::Result<()> {
        let block = self.next();
        let words: Vec<_> = block.mark.split(' ').collect();
        assert!(words.len() == 3 && words[2] == path, "{}: {path} is not next: {block:?}", self.document);
        self.place(words[1]).write(path, &self.localised(&block.text))
    }

    /// Passes over the next block, which is looked at elsewhere.
    pub(crate) fn elsewhere(&mut self, mark: &str, part: &str) {
        let block = self.next();
        assert!(block.mark == mark && block.text.contains(part), "{}: {block:?}", self.document);
    }

    /// Checks that nothing is left.
    pub(crate) fn end(self) {
        assert!(self.blocks.is_empty(), "{}: not done: {:?}", self.document, self.blocks);
    }

    fn next(&mut self) -> Block {
        self.blocks.pop_front().unwrap_or_else(|| panic!("{} has no more blocks", self.document))
    }

    fn next_script(&mut self, part: &str) -> (&'a Place<'a>, String) {
        let block = self.next();
        let place = match block.mark.split_once(' ') {
            Some(("sh", place)) => self.place(place),
            _ => panic!("{}: {part} is not next: {block:?}", self.document),
        };
        assert!(block.text.contains(part), "{}: {part} is not next: {block:?}", self.document);
        (place, self.localised(&block.text))
    }

    /// What the block just run is to print.
    fn next_text(&mut self) -> Option<String> {
        self.blocks.front().filter(|block| block.language() == "text")?;
        let block = self.next();
        Some(self.localised(&block.text))
    }

    fn place(&self, name: &str) -> &'a Place<'a> {
        match name {
            "server" => &self.town.server,
            "client" => &self.town.client,
            other => panic!("{}: there is no {other}", self.document),
        }
    }

    fn localised(&self, text: &str) -> String {
        self.ours.iter().fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
    }
}

/// The first line of what is shown that is not in what was told, in order; empty where all are. Words that have a digit
/// differ from machine to machine, and from run to run.
fn missing(shown: &str, told: &str) -> String {
    let mut told = told.lines().map(words);
    let is_there = |line: &&str| !told.any(|told| told == words(line));
    shown.lines().filter(|line| !words(line).is_empty()).find(is_there).unwrap_or_default().to_owned()
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit())).collect()
}
