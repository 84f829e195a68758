//! `hash-password`: a password from stdin, its bcrypt hash on stdout.
//!
//! On a terminal it is asked for twice and not shown. From a pipe or file it is taken as it is, without
//! the line break that most tools put at the end. What would be hashed into something that lets nobody,
//! or somebody else, in is refused.

use std::io::{self, IsTerminal as _, Read, stdin};

use bcrypt::Version;

use super::print;
use crate::error::AppError;

/// What the documentation of the web configuration file advises: some 50 ms of work for each guess,
/// and no more than that for a scrape that has to be verified.
const COST: u32 = 10;

/// bcrypt looks at no more.
const MOST_BYTES: u64 = 72;

/// Reads and prints.
///
/// # Errors
/// When stdin cannot be read, or is no password that bcrypt can keep apart from every other.
pub(super) fn hash_password() -> Result<(), AppError> {
    let password = if stdin().is_terminal() {
        let password = ask("Password: ")?;
        if ask("Again: ")? != password {
            return Err(AppError::Password("the two differ"));
        }
        password.into_bytes()
    } else {
        read(stdin().lock()).map_err(unreadable)?
    };
    check(&password).map_err(AppError::Password)?;
    let hash = bcrypt::hash_with_result(&password, COST);
    let hash =
        hash.map_err(|error| AppError::System { operation: "make a salt", source: io::Error::other(error) })?;
    // What `htpasswd` writes and every implementation reads.
    print(&format!("{}\n", hash.format_for_version(Version::TwoY)))
}

/// Prompts on the terminal and reads from it without echo.
fn ask(prompt: &str) -> Result<String, AppError> {
    rpassword::prompt_password(prompt).map_err(unreadable)
}

fn unreadable(source: io::Error) -> AppError {
    AppError::System { operation: "read the password", source }
}

/// The password without the line break at its end. More bytes than are allowed are not all read.
fn read(input: impl Read) -> io::Result<Vec<u8>> {
    let mut password = Vec::new();
    input.take(MOST_BYTES + 3).read_to_end(&mut password)?;
    if password.ends_with(b"\n") {
        password.pop();
        if password.ends_with(b"\r") {
            password.pop();
        }
    }
    Ok(password)
}

fn check(password: &[u8]) -> Result<(), &'static str> {
    match password {
        [] => Err("it is empty"),
        _ if password.contains(&b'\n') => Err("it has more than one line"),
        _ if password.contains(&0) => Err("it holds a NUL byte, where most programs would end it"),
        _ if password.len() as u64 > MOST_BYTES => {
            Err("it is longer than 72 bytes, and bcrypt would ignore the rest")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_dropped() {
        for (input, password) in [
            ("", ""),
            ("\n", ""),
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            (" secret \n", " secret "),
            ("secret\r", "secret\r"),
            ("secret\n\n", "secret\n"),
        ] {
            assert_eq!(read(input.as_bytes()).unwrap(), password.as_bytes(), "{input:?}");
        }
        let longest = "x".repeat(72);
        assert_eq!(read(format!("{longest}\r\n").as_bytes()).unwrap(), longest.as_bytes());
        assert!(read(io::repeat(b'x')).unwrap().len() > 72);
    }

    #[test]
    fn what_bcrypt_would_not_keep_apart_is_refused() {
        assert_eq!(check("x".repeat(72).as_bytes()), Ok(()));
        assert_eq!(check("grüße 🗝".as_bytes()), Ok(()));
        assert!(check("x".repeat(73).as_bytes()).unwrap_err().contains("72 bytes"));
        assert!(check("ü".repeat(37).as_bytes()).unwrap_err().contains("72 bytes"));
        assert_eq!(check(b""), Err("it is empty"));
        assert!(check(b"a\nb").unwrap_err().contains("one line"));
        assert!(check(b"a\0b").unwrap_err().contains("NUL"));
    }
}
