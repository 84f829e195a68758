//! `hash-password`: reads a password from stdin and prints its bcrypt hash on stdout.
//!
//! On a terminal the password is asked for twice and not echoed. From a pipe or a file it is read as it is,
//! without the line break at its end that most tools add. A password that bcrypt cannot distinguish from
//! others is refused.

use std::io::{self, IsTerminal as _, Read, stdin};

use bcrypt::Version;

use super::output::print;
use crate::error::AppError;

/// The cost that the documentation of the web configuration recommends: about 50 ms for each guess, and for
/// each scrape that has to be verified.
const COST: u32 = 10;

/// The length after which bcrypt ignores the rest.
const MAX_BYTES: u64 = 72;

/// Reads and prints.
///
/// # Errors
/// Fails if stdin cannot be read, or the password cannot be hashed without loss.
pub(super) fn hash_password() -> Result<(), AppError> {
    let password = if stdin().is_terminal() {
        let password = prompt("Password: ")?;
        if prompt("Again: ")? != password {
            return Err(AppError::Password("the two entries differ"));
        }
        password.into_bytes()
    } else {
        read(stdin().lock()).map_err(unreadable)?
    };
    validate(&password).map_err(AppError::Password)?;
    let hash = bcrypt::hash_with_result(&password, COST);
    let hash =
        hash.map_err(|error| AppError::System { operation: "make a salt", source: io::Error::other(error) })?;
    // `htpasswd` writes this version, and every implementation reads it.
    print(&format!("{}\n", hash.format_for_version(Version::TwoY)))
}

/// Prompts on the terminal and reads from it without echo.
fn prompt(prompt: &str) -> Result<String, AppError> {
    rpassword::prompt_password(prompt).map_err(unreadable)
}

fn unreadable(source: io::Error) -> AppError {
    AppError::System { operation: "read the password", source }
}

/// Reads a password and drops the line break at its end. Of a longer input only the start is read.
fn read(input: impl Read) -> io::Result<Vec<u8>> {
    let mut password = Vec::new();
    input.take(MAX_BYTES + 3).read_to_end(&mut password)?;
    if password.ends_with(b"\n") {
        password.pop();
        if password.ends_with(b"\r") {
            password.pop();
        }
    }
    Ok(password)
}

fn validate(password: &[u8]) -> Result<(), &'static str> {
    match password {
        [] => Err("it is empty"),
        _ if password.contains(&b'\n') => Err("it has more than one line"),
        _ if password.contains(&0) => Err("it contains a NUL byte, at which most programs would end it"),
        _ if password.len() as u64 > MAX_BYTES => {
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
    fn a_password_that_bcrypt_would_truncate_is_refused() {
        assert_eq!(validate("x".repeat(72).as_bytes()), Ok(()));
        assert_eq!(validate("grüße 🗝".as_bytes()), Ok(()));
        assert!(validate("x".repeat(73).as_bytes()).unwrap_err().contains("72 bytes"));
        assert!(validate("ü".repeat(37).as_bytes()).unwrap_err().contains("72 bytes"));
        assert_eq!(validate(b""), Err("it is empty"));
        assert!(validate(b"a\nb").unwrap_err().contains("one line"));
        assert!(validate(b"a\0b").unwrap_err().contains("NUL"));
    }
}
