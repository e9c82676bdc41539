//! What is there in another language has the same commands, in the same order.

use std::io;

use crate::block::{Block, blocks_of, commands, text_of};

/// A document, and its translation.
const TRANSLATIONS: [(&str, &str); 2] = [
    ("docs/first-door.md", "docs/fr/premiere-porte.md"),
    ("docs/moving-from-knockd.md", "docs/fr/venir-de-knockd.md"),
];

#[test]
fn translations_have_the_same_commands() -> io::Result<()> {
    for (document, translation) in TRANSLATIONS {
        let (blocks, translated) = (blocks_of(document)?, blocks_of(translation)?);
        for (block, other) in blocks.iter().zip(&translated) {
            assert_eq!((&block.mark, lines(block)), (&other.mark, lines(other)), "{translation}");
        }
        assert_eq!(blocks.len(), translated.len(), "{translation}");
    }
    Ok(())
}

/// Warnings are translated, too.
#[test]
fn translations_warn_as_often() -> io::Result<()> {
    let warnings = |text: String| text.split("\n\n").filter(|paragraph| paragraph.starts_with("> ")).count();
    for (document, translation) in TRANSLATIONS {
        let count = warnings(text_of(document)?);
        assert!(count > 1, "{document}");
        assert_eq!(warnings(text_of(translation)?), count, "{translation}");
    }
    Ok(())
}

/// What is remarked in a command may be in another language.
fn lines(block: &Block) -> Vec<&str> {
    if block.language() == "sh" { commands(block) } else { block.text.lines().collect() }
}
