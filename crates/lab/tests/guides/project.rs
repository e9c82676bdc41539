//! The README, and what those who work on the project are told.

use std::io;

use crate::block::{blocks_of, commands, text_of};

/// The README's commands for a server are those of the first door, which are played.
#[test]
fn the_readme_says_what_the_first_door_says() -> io::Result<()> {
    let played = blocks_of("docs/first-door.md")?;
    let played: Vec<_> = played.iter().flat_map(|block| block.text.lines()).collect();
    let readme = blocks_of("README.md")?;
    let mut found = 0;
    for block in readme.iter().filter(|block| block.mark != "sh source") {
        for line in commands(block) {
            assert!(played.contains(&line), "docs/first-door.md has no {line:?}");
            found += 1;
        }
    }
    assert!(found >= 6, "only {found} were found");
    Ok(())
}

/// Every task that is named is one.
#[test]
fn the_tasks_that_are_named_are_there() -> io::Result<()> {
    let tasks = text_of("xtask/src/main.rs")?;
    let mut found = 0;
    for document in ["README.md", "CONTRIBUTING.md", "docs/first-door.md"] {
        for block in blocks_of(document)?.iter().filter(|block| block.mark == "sh source") {
            for line in commands(block) {
                let mut words = line.split(' ').skip_while(|word| *word != "xtask").skip(1);
                let Some(task) = words.next() else { continue };
                assert!(tasks.contains(&format!("cargo xtask {task}")), "{document}: {line}");
                let kind = words.next().filter(|_| task == "package").unwrap_or_default();
                assert!(tasks.contains(kind), "{document}: {line}");
                found += 1;
            }
        }
    }
    assert!(found >= 6, "only {found} were found");
    Ok(())
}
