//! `cargo xtask bench`: how fast the daemon is, beside Debian's.

use std::io;

use crate::cargo::{cargo, succeed};
use crate::tools;

/// Builds what is measured as it is shipped, and measures; `arguments` go to the benches.
pub(crate) fn run(arguments: &[String]) -> io::Result<()> {
    tools::provide_for_bench()?;
    const SHIPPED: [&str; 4] = ["--package", "knockd", "--package", "knockctl"];
    succeed(cargo(&["build", "--release"]).args(SHIPPED))?;
    succeed(cargo(&["run", "--release", "--quiet", "--package", "benches", "--"]).args(arguments))
}
