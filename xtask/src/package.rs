//! `cargo xtask package`: what is shipped, each kind of package in a module of its own.

mod deb;
mod root;
mod rpm;
mod staged;
mod tarball;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cargo::root as workspace;

/// The release's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Builds the kind of package that the first argument names, into the directory that the second names.
pub(crate) fn run(arguments: &[String]) -> io::Result<()> {
    let (kind, directory) = match arguments {
        [kind] => (kind.as_str(), directory()?),
        [kind, directory] => (kind.as_str(), directory.into()),
        _ => return Err(which()),
    };
    let package = match kind {
        "deb" => deb::build(&directory)?,
        "rpm" => rpm::build(&directory)?,
        "tarball" => tarball::build(&directory)?,
        _ => return Err(which()),
    };
    println!("{}", package.display());
    Ok(())
}

fn which() -> io::Error {
    io::Error::other("which package? cargo xtask package deb|rpm|tarball [DIR]")
}

/// What the tests of the Debian package install, and the Debian that they install it on.
pub(crate) fn prepare_for_tests() -> io::Result<()> {
    let directory = directory()?;
    deb::build(&directory)?;
    rpm::build(&directory)?;
    if tarball::can_be_built() {
        tarball::build(&directory)?;
    }
    root::make(&directory)
}

/// Where packages go when nothing is said: `package`, beside what cargo builds.
fn directory() -> io::Result<PathBuf> {
    Ok(target()?.join("package"))
}

/// Where cargo builds; this task is in a directory of it.
fn target() -> io::Result<PathBuf> {
    let executable = env::current_exe()?;
    let target = executable.parent().and_then(Path::parent);
    Ok(target.unwrap_or_else(|| Path::new("/")).to_owned())
}

/// An empty directory, whatever was there.
fn fresh(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(directory),
    }
}

/// Copies a directory with all that is in it; modes as they are.
fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// A file or directory of the packagers'.
fn packaging(path: &str) -> PathBuf {
    workspace().join("packaging").join(path)
}
