//! The generated files of the Debian package: the manual page, and the completions of three shells.

mod man;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use clap_complete::Shell;
use flate2::Compression;
use flate2::write::GzEncoder;
use mde_exporter::cli::Cli;

const NAME: &str = "mde_exporter";

/// Writes the files to `folder`, which is created if it is missing.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(folder: &Path) -> io::Result<()> {
    write_files(folder)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))
}

fn write_files(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut page = GzEncoder::new(File::create(folder.join("mde_exporter.1.gz"))?, Compression::best());
    page.write_all(&man::page()?)?;
    page.finish()?;
    for shell in [Shell::Bash, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Cli::definition(), NAME, folder)?;
    }
    File::create(folder.join("mde_exporter.fish"))?.write_all(&fish_completions())
}

/// The completions for fish.
///
/// clap's script calls fish's `argparse` to find the given command. `argparse` does not accept flags with
/// dots in their names, so nothing would be completed. The two functions that call it are replaced.
fn fish_completions() -> Vec<u8> {
    let mut command = Cli::definition();
    let mut script = Vec::new();
    clap_complete::generate(Shell::Fish, &mut command, NAME, &mut script);
    let commands: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
    let commands = commands.join(" ");
    let functions = format!(
        "
function __fish_{NAME}_needs_command
    not __fish_seen_subcommand_from {commands}
end

function __fish_{NAME}_using_subcommand
    __fish_seen_subcommand_from $argv
end
"
    );
    script.extend_from_slice(functions.as_bytes());
    script
}
