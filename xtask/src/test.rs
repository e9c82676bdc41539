//! `cargo xtask test`: all tests, from a bare machine to the verdict.

use std::io;

use crate::cargo::{cargo, succeed};
use crate::{package, tools};

/// Installs what is missing, builds, tests; `arguments` go to `cargo test --workspace`.
pub(crate) fn run(arguments: &[String]) -> io::Result<()> {
    tools::provide()?;
    // The tests start the programs, which `cargo test` does not build for another package's tests. And everything is
    // built out here, because in a user namespace nothing can be downloaded.
    succeed(&mut cargo(&["build", "--workspace"]))?;
    succeed(&mut cargo(&["test", "--workspace", "--no-run"]))?;
    if tools::machine_is_thrown_away() && lab::is_root() {
        package::prepare_for_tests()?;
    }
    let mut test = cargo(&["test", "--workspace"]);
    test.args(arguments);
    succeed(&mut lab::as_root(&test))
}
