//! Output files, which keep their content until there is something to write.

use std::{
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io::{self, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::exit::Failure;

/// An output file, or a special file such as a pipe.
///
/// It keeps its content until the first byte is written, or until [`Target::commit`]. A new regular
/// file is removed again if neither happens.
pub(crate) struct Target {
    inner: Inner,
    /// The length of the content that is kept. `None`: the file is not truncated, or has been
    /// already.
    cut_at: Option<u64>,
    /// The new file's path: it is removed unless something is written.
    created: Option<PathBuf>,
}

enum Inner {
    File(File),
    Stdout(io::Stdout),
    Stderr(io::Stderr),
}

impl Target {
    /// Opens a file to replace its content. Creates it if it doesn't exist.
    ///
    /// `/dev/stdout` is the standard output itself, which is not truncated.
    pub(crate) fn replace(path: &Path) -> io::Result<Self> {
        let standard = match path.to_str() {
            Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => {
                Some(Inner::Stdout(io::stdout()))
            }
            Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => {
                Some(Inner::Stderr(io::stderr()))
            }
            _ => None,
        };
        if let Some(inner) = standard {
            return Ok(Self {
                inner,
                cut_at: None,
                created: None,
            });
        }
        Self::open(path, false)
    }

    /// Opens a file to be read, and then written from the position of [`Target::keep`]. Creates it
    /// if it doesn't exist.
    pub(crate) fn resume(path: &Path) -> io::Result<Self> {
        Self::open(path, true)
    }

    fn open(path: &Path, read: bool) -> io::Result<Self> {
        // This is `false` for a dangling symbolic link: neither the link nor its target is removed.
        let is_new = fs::symlink_metadata(path).is_err();
        let file = OpenOptions::new()
            .read(read)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let is_regular = file.metadata()?.is_file();
        if is_regular {
            lock(&file)?;
        }
        Ok(Self {
            inner: Inner::File(file),
            cut_at: is_regular.then_some(0),
            created: (is_new && is_regular).then(|| path.to_owned()),
        })
    }

    /// The open file; `None` for a standard stream.
    pub(crate) fn file(&self) -> Option<&File> {
        match &self.inner {
            Inner::File(file) => Some(file),
            Inner::Stdout(_) | Inner::Stderr(_) => None,
        }
    }

    /// Keeps the first `bytes` bytes of a regular file; writes follow them.
    pub(crate) fn keep(&mut self, bytes: u64) {
        if let Some(cut_at) = &mut self.cut_at {
            *cut_at = bytes;
        }
    }

    /// Returns `true` if it has content that the first byte would replace.
    pub(crate) fn has_something_to_lose(&self) -> bool {
        let length = |file: &File| file.metadata().map_or(0, |metadata| metadata.len());
        match (self.cut_at, self.file()) {
            (Some(cut_at), Some(file)) => length(file) > cut_at,
            _ => false,
        }
    }

    /// Drops the old content, even if nothing is written: the result is then empty.
    pub(crate) fn commit(&mut self) -> io::Result<()> {
        if let (Some(cut_at), Inner::File(file)) = (self.cut_at, &mut self.inner) {
            file.set_len(cut_at)?;
            file.seek(SeekFrom::Start(cut_at))?;
            self.cut_at = None;
        }
        self.created = None;
        Ok(())
    }
}

/// Locks a file until it is closed, so that two commands don't mix what they write. A file system that has no
/// locks doesn't prevent that.
///
/// # Errors
/// Another command has locked it.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another command writes to it")),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.commit()?;
        match &mut self.inner {
            Inner::File(file) => file.write(bytes),
            Inner::Stdout(stdout) => stdout.write(bytes),
            Inner::Stderr(stderr) => stderr.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::File(file) => file.flush(),
            Inner::Stdout(stdout) => stdout.flush(),
            Inner::Stderr(stderr) => stderr.flush(),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let Some(path) = self.created.take() else {
            return;
        };
        // Remove only the file that was created here, and only if it is unchanged.
        let is_empty = self.file().is_some_and(|file| {
            let (ours, there) = (file.metadata(), fs::symlink_metadata(&path));
            ours.is_ok_and(|ours| {
                ours.len() == 0 && there.is_ok_and(|there| is_same(&ours, &there))
            })
        });
        if is_empty {
            // If that fails, an empty file remains, which is harmless.
            let _ = fs::remove_file(&path);
        }
    }
}

/// A file or stream that a command reads or writes.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Path(&'a Path),
    Stdin,
    Stdout,
}

impl<'a> Place<'a> {
    /// The place that an input argument names: a file, or the standard input without one or with
    /// `-`.
    pub(crate) fn input(path: Option<&'a Path>) -> Self {
        match path.filter(|path| path.as_os_str() != "-") {
            Some(path) => Self::Path(path),
            None => Self::Stdin,
        }
    }

    /// The place that an output argument names: a file, or the standard output without one or with
    /// `-`.
    pub(crate) fn output(path: Option<&'a Path>) -> Self {
        match path.filter(|path| path.as_os_str() != "-") {
            Some(path) => Self::Path(path),
            None => Self::Stdout,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Stdin => "the standard input".to_owned(),
            Self::Stdout => "the standard output".to_owned(),
        }
    }

    fn metadata(self) -> Option<Metadata> {
        match self {
            Self::Path(path) => fs::metadata(path).ok(),
            Self::Stdin => standard(&io::stdin()),
            Self::Stdout => standard(&io::stdout()),
        }
    }
}

/// Refuses an output that is also the input: it would be lost, or read without end. Neither is
/// modified.
///
/// They are the same if they are one regular file under any name: a symbolic or hard link, or the
/// file from which the standard input is redirected.
pub(crate) fn refuse_same(input: Place<'_>, output: Place<'_>) -> Result<(), Failure> {
    let same = match (input.metadata(), output.metadata()) {
        (Some(from), Some(to)) => from.is_file() && to.is_file() && is_same(&from, &to),
        _ => false,
    };
    #[cfg(not(unix))]
    let same = same && same_path(input, output);
    if same {
        return Err(Failure::usage(format!(
            "{} is both the input and the output ({}); write to another file",
            output.name(),
            input.name()
        )));
    }
    Ok(())
}

#[cfg(unix)]
pub(crate) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The metadata can't identify a file here; `same_path` compares paths.
#[cfg(not(unix))]
pub(crate) fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(not(unix))]
fn same_path(input: Place<'_>, output: Place<'_>) -> bool {
    let canonical = |place| match place {
        Place::Path(path) => fs::canonicalize(path).ok(),
        Place::Stdin | Place::Stdout => None,
    };
    canonical(input).is_some_and(|input| Some(input) == canonical(output))
}

#[cfg(unix)]
fn standard(stream: &impl std::os::fd::AsFd) -> Option<Metadata> {
    let owned = stream.as_fd().try_clone_to_owned().ok()?;
    File::from(owned).metadata().ok()
}

#[cfg(not(unix))]
fn standard<T>(_: &T) -> Option<Metadata> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A temporary folder, removed on drop.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("headwater-file-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, content: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_keeps_its_content_until_the_first_byte() {
        let folder = Folder::new("keeps");
        let path = folder.file("old", "old and longer");
        let content = || fs::read_to_string(&path).unwrap();
        let mut target = Target::replace(&path).unwrap();
        assert!(target.has_something_to_lose());
        target.write_all(b"").unwrap();
        target.flush().unwrap();
        assert_eq!(content(), "old and longer");
        drop(target);
        assert_eq!(content(), "old and longer");
        let mut target = Target::replace(&path).unwrap();
        target.write_all(b"n").unwrap();
        assert_eq!(content(), "n");
        target.write_all(b"ew").unwrap();
        assert_eq!(content(), "new");
    }

    #[test]
    fn two_commands_dont_write_one_file() {
        let folder = Folder::new("two");
        let path = folder.file("old", "old");
        let first = Target::replace(&path).unwrap();
        let second = Target::resume(&path).err().map(|error| error.to_string());
        assert_eq!(second.as_deref(), Some("another command writes to it"));
        drop(first);
        assert!(Target::replace(&path).is_ok());
    }

    #[test]
    fn an_empty_result_is_committed_and_a_part_can_be_kept() {
        let folder = Folder::new("commit");
        let path = folder.file("old", "old");
        Target::replace(&path).unwrap().commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        fs::write(&path, "1\n2\n3").unwrap();
        let mut target = Target::resume(&path).unwrap();
        target.keep(4);
        assert!(target.has_something_to_lose());
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n3");
        target.write_all(b"4\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n4\n");
    }

    #[test]
    fn a_new_file_remains_only_if_something_was_written() {
        let folder = Folder::new("new");
        let path = folder.0.join("new");
        drop(Target::replace(&path).unwrap());
        assert!(!path.exists());
        Target::replace(&path).unwrap().commit().unwrap();
        assert!(path.exists());
        let link = folder.0.join("link");
        std::os::unix::fs::symlink(folder.0.join("to"), &link).unwrap();
        drop(Target::replace(&link).unwrap());
        assert!(fs::symlink_metadata(&link).is_ok(), "the link stays");
    }

    #[test]
    fn a_file_is_the_same_under_every_name_and_special_files_never_are() {
        let folder = Folder::new("same");
        let (one, other) = (folder.file("one", "1"), folder.file("other", "1"));
        let (hard, soft) = (folder.0.join("hard"), folder.0.join("soft"));
        fs::hard_link(&one, &hard).unwrap();
        std::os::unix::fs::symlink(&one, &soft).unwrap();
        let dotted = folder.0.join(".").join("one");
        let same = |input: &Path, output: &Path| {
            refuse_same(Place::input(Some(input)), Place::output(Some(output))).is_err()
        };
        for name in [&one, &hard, &soft, &dotted] {
            assert!(same(&one, name) && same(name, &one), "{}", name.display());
            assert!(!same(&other, name));
        }
        assert!(!same(Path::new("/dev/null"), Path::new("/dev/null")));
        assert!(!same(&one, &folder.0.join("none")));
    }
}
