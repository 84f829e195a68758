//! The manual page `mde_exporter(1)`: commands and flags from the definitions of clap, followed by the
//! sections in `mde_exporter.1.roff`.

use std::io;

use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use mde_exporter::cli::Cli;

const DESCRIPTION: &str = "Polls Microsoft Defender for Endpoint in the background for the KBs that each machine misses, \
    stores when each missing update was first seen, and serves the result as metrics for Prometheus. A scrape \
    returns the data of the last poll and makes no call to Microsoft.\n\n\
    The default command is run. Flags are given before or after the command, as --flag=value or --flag value.";

/// The page in the roff format.
///
/// # Errors
/// Never, because it writes to memory.
pub(crate) fn page() -> io::Result<Vec<u8>> {
    let usage = "mde_exporter [FLAG]... [COMMAND]";
    let mut command = Cli::command().override_usage(usage).long_about(DESCRIPTION);
    command.build();
    let man = Man::new(command.clone()).manual("Prometheus exporters");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    commands(&command).to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    page.extend_from_slice(include_bytes!("mde_exporter.1.roff"));
    Ok(page)
}

/// The section with every command and its own arguments.
fn commands(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let mut head = vec![bold(command.get_name())];
        head.extend(command.get_positionals().flat_map(|value| [roman(" ["), value_name(value), roman("]")]));
        roff.control("TP", []).text(head);
        roff.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default())]);
        roff.control("RS", []);
        for argument in command.get_arguments().filter(|argument| is_own(argument)) {
            roff.control("TP", []).text(argument_head(argument));
            roff.text([roman(argument_help(argument))]);
        }
        roff.control("RE", []);
    }
    roff
}

/// Returns whether the argument belongs to one command only.
fn is_own(argument: &Arg) -> bool {
    !argument.is_global_set() && argument.get_id() != "help"
}

fn value_name(argument: &Arg) -> Inline {
    italic(argument.get_value_names().unwrap_or_default().join(" "))
}

fn argument_head(argument: &Arg) -> Vec<Inline> {
    match argument.get_long() {
        None => vec![value_name(argument)],
        Some(flag) if argument.get_action().takes_values() => {
            vec![bold(format!("--{flag}")), roman(" "), value_name(argument)]
        }
        Some(flag) => vec![bold(format!("--{flag}"))],
    }
}

fn argument_help(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    if !argument.get_action().takes_values() {
        return help;
    }
    let values: Vec<_> =
        argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let values = if values.is_empty() { String::new() } else { format!(": {}", values.join(" or ")) };
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default =
        if defaults.is_empty() { String::new() } else { format!(" [default: {}]", defaults.join(" ")) };
    format!("{help}{values}{default}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = include_str!("../../../systemd/mde_exporter.service");
    const MANIFEST: &str = include_str!("../../../Cargo.toml");

    /// The value of a setting that occurs once in the unit.
    fn setting(key: &str) -> &'static str {
        let values: Vec<_> =
            SERVICE.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
        assert_eq!(values.len(), 1, "{key}");
        values[0]
    }

    /// The paths in `assets` of the package.
    fn installed_files() -> impl Iterator<Item = String> {
        let (_, rest) = MANIFEST.split_once("\nassets = [\n").unwrap();
        let (list, _) = rest.split_once("\n]").unwrap();
        list.lines().map(|line| format!("/{}", line.split('"').nth(3).unwrap()))
    }

    #[test]
    fn manual_page_has_every_command_flag_and_service_file() {
        // A hyphen that is to stay one is escaped.
        let page = String::from_utf8(page().unwrap()).unwrap().replace("\\-", "-");
        let command = Cli::command();
        for name in command.get_subcommands().map(clap::Command::get_name) {
            assert!(page.contains(&format!(".TP\n\\fB{name}\\fR")), "{name}");
        }
        let flags = |command: &clap::Command| -> Vec<String> {
            command
                .get_arguments()
                .filter_map(|flag| Some(format!("\\fB--{}\\fR", flag.get_long()?)))
                .collect()
        };
        for flag in command.get_subcommands().flat_map(flags).chain(flags(&command)) {
            assert!(page.contains(&flag), "{flag}");
        }
        let installed: Vec<_> = installed_files().collect();
        assert!(installed.len() > 5);
        for file in
            installed.iter().filter(|file| file.starts_with("/etc/default") || file.contains("/examples/"))
        {
            assert!(page.contains(file.as_str()), "{file}");
        }
        assert!(page.contains(&format!("/var/lib/{}/state.db", setting("StateDirectory"))));
        assert!(page.contains(&format!("{}/\n", setting("LoadCredential").split_once(':').unwrap().1)));
    }
}
