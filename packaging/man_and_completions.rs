//! Writes what a package holds besides the binary and is made from its command line: the manual page and
//! the completions of three shells.
//!
//!     cargo run --example man_and_completions -- FOLDER

mod man;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use flate2::Compression;
use flate2::write::GzEncoder;
use mde_exporter::cli::Cli;

const NAME: &str = "mde_exporter";

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("error: name the folder to write to");
        return ExitCode::from(64);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut page = GzEncoder::new(File::create(folder.join("mde_exporter.1.gz"))?, Compression::best());
    page.write_all(&man::page()?)?;
    page.finish()?;
    for shell in [Shell::Bash, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Cli::command(), NAME, folder)?;
    }
    File::create(folder.join("mde_exporter.fish"))?.write_all(&fish())
}

/// clap's completions for fish ask fish's `argparse` which command is given, and that takes no flags with
/// dots in their names: nothing would ever be completed. So the two functions that ask are defined anew.
fn fish() -> Vec<u8> {
    let mut command = Cli::command();
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
