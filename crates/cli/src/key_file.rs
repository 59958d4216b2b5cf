//! Files with secrets and keys of tokens.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use headwater_wire::terminal::ShellWord;

use crate::exit::Failure;

/// Maximum size of a file with a secret.
pub(crate) const SECRET_FILE_BYTES: usize = 64 << 10;

/// The content of a file that only its owner should be able to read.
pub(crate) struct Secret {
    pub(crate) bytes: Vec<u8>,
    /// A sentence about a file that others can read.
    pub(crate) warning: Option<String>,
}

/// Reads a file with a secret or a private key. A line break at its end isn't a part of the secret.
///
/// # Errors
/// The file can't be read, or it is too large.
pub(crate) fn read_secret(path: &Path) -> Result<Secret, Failure> {
    let (mut bytes, mode) = read_with_mode(path, SECRET_FILE_BYTES)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    let warning = (mode & 0o044 != 0).then(|| {
        let path = path.display();
        let word = path.to_string();
        let word = ShellWord(&word);
        format!("{path}: other users can read this secret; `chmod 600 {word}` protects it")
    });
    Ok(Secret { bytes, warning })
}

/// Reads a file of at most this many bytes.
///
/// # Errors
/// The file can't be read, or it is too large.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    Ok(read_with_mode(path, limit)?.0)
}

fn read_with_mode(path: &Path, limit: usize) -> Result<(Vec<u8>, u32), Failure> {
    let failed = |error: io::Error| Failure::other(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    let mut bytes = Vec::new();
    let mut file = file.take(limit as u64 + 1);
    file.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        let path = path.display();
        return Err(Failure::other(format!(
            "{path}: the file has more than {limit} bytes, which is the maximum"
        )));
    }
    Ok((bytes, mode))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    /// Reads a file with this content and mode.
    fn secret(content: &[u8], mode: u32) -> Result<Secret, Failure> {
        let name = format!("headwater-{}-secret-{mode:o}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let secret = read_secret(&path);
        fs::remove_file(&path).unwrap();
        secret
    }

    #[test]
    fn one_line_break_at_the_end_is_not_a_part_of_a_secret() {
        for (content, expected) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            (" a \n", " a "),
            ("\n", ""),
            ("", ""),
        ] {
            let secret = secret(content.as_bytes(), 0o600).unwrap();
            assert_eq!(secret.bytes, expected.as_bytes(), "{content:?}");
        }
    }

    #[test]
    fn a_secret_that_others_can_read_has_a_warning() {
        for (mode, is_open) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            let secret = secret(b"a", mode).unwrap();
            assert_eq!(secret.warning.is_some(), is_open, "{mode:o}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        assert!(secret(&vec![b'a'; SECRET_FILE_BYTES], 0o601).is_ok());
        assert!(secret(&vec![b'a'; SECRET_FILE_BYTES + 1], 0o603).is_err());
    }
}
