//! `cargo xtask completions`: what bash, zsh and fish complete for the three commands, made from their command lines.
//!
//! Beside options and commands they complete values: doors and addresses as the running daemon knows them, hosts as
//! `knock --list` does. Each shell's part says how; [`values`] says what.

mod bash;
mod fish;
mod values;
mod zsh;

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;

/// Writes `bash/knockd`, `zsh/_knockd`, `fish/knockd.fish` and so on into `directory`, which is made where it is missing.
pub(crate) fn run(directory: &Path) -> io::Result<()> {
    for command in commands() {
        let name = command.get_name();
        write(directory, "bash", name, &bash::script(&command))?;
        write(directory, "zsh", &format!("_{name}"), &zsh::script(&command))?;
        write(directory, "fish", &format!("{name}.fish"), &fish::script(&command))?;
    }
    Ok(())
}

fn write(directory: &Path, shell: &str, file: &str, script: &str) -> io::Result<()> {
    let directory = directory.join(shell);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(file), script)
}

/// The command lines as users see them.
fn commands() -> [Command; 3] {
    [knockd::command(), knock::command(), knockctl::command()].map(|command| {
        let mut command = visible(&command);
        command.build();
        command
    })
}

/// The command without what its help hides.
fn visible(command: &Command) -> Command {
    let shown = Command::new(command.get_name().to_owned())
        .about(command.get_about().cloned().unwrap_or_default())
        .version("0")
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()));
    let below = command.get_subcommands().filter(|command| !command.is_hide_set());
    below.fold(shown, |shown, command| shown.subcommand(visible(command).disable_version_flag(true)))
}

#[cfg(test)]
mod tests;
