//! The code blocks of a document.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A code block, with what stands behind its three backquotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Such as `sh server`.
    pub(crate) mark: String,
    pub(crate) text: String,
    /// The heading that it stands under.
    pub(crate) chapter: String,
}

impl Block {
    /// Its language: the first word of its mark.
    pub(crate) fn language(&self) -> &str {
        self.mark.split(' ').next().unwrap_or_default()
    }
}

/// Where the project is.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A document's text.
pub(crate) fn text_of(document: &str) -> io::Result<String> {
    let path = root().join(document);
    fs::read_to_string(path).map_err(|error| io::Error::new(error.kind(), format!("{document}: {error}")))
}

/// A document's blocks, in order.
pub(crate) fn blocks_of(document: &str) -> io::Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut chapter = String::new();
    for line in text_of(document)?.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(mark)) => {
                let (mark, chapter) = (mark.to_owned(), chapter.clone());
                open = Some(Block { mark, text: String::new(), chapter });
            }
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => block.text += &format!("{line}\n"),
            (None, None) => {
                if let Some((_, heading)) = line.split_once("# ").filter(|_| line.starts_with('#')) {
                    heading.clone_into(&mut chapter);
                }
            }
        }
    }
    assert!(open.is_none(), "{document}: a block has no end");
    Ok(blocks)
}

/// The commands of a block, without what is remarked in it.
pub(crate) fn commands(block: &Block) -> Vec<&str> {
    let lines = block.text.lines().map(|line| line.split(" # ").next().unwrap_or_default().trim_end());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}
