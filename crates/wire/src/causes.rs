//! An error with its causes.

use std::{error::Error, iter};

/// Returns an error, then its causes down to the innermost one.
pub fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        (**error).source()
    })
}

/// Returns the innermost cause of an error, if it has one.
#[must_use]
pub fn root<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    chain(error).skip(1).last()
}

/// Returns the first error of type `E` among an error and its causes.
#[must_use]
pub fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Returns the texts of an error and its causes in one line.
#[must_use]
pub fn text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in chain(error).skip(1) {
        add(&mut text, &cause.to_string());
    }
    text
}

/// Appends the text of a cause, unless `text` already contains it.
pub fn add(text: &mut String, cause: &str) {
    if !text.contains(cause) {
        text.push_str(": ");
        text.push_str(cause);
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;

    /// An error with a text and a cause.
    #[derive(Debug)]
    struct Outer(&'static str, io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn a_cause_is_added_unless_its_text_is_there() {
        let full = || io::Error::other("the disk is full");
        assert_eq!(text(&full()), "the disk is full");
        assert_eq!(
            text(&Outer("can't write", full())),
            "can't write: the disk is full"
        );
        let repeated = "can't write: the disk is full, again";
        assert_eq!(text(&Outer(repeated, full())), repeated);
    }

    #[test]
    fn a_cause_is_found_by_its_type() {
        let outer = Outer("can't write", io::ErrorKind::StorageFull.into());
        let found = find::<io::Error>(&outer).map(io::Error::kind);
        assert_eq!(found, Some(io::ErrorKind::StorageFull));
        assert!(find::<Outer>(&outer).is_some() && find::<fmt::Error>(&outer).is_none());
        assert!(root(&outer).is_some_and(<dyn Error>::is::<io::Error>));
        assert!(root(&outer.1).is_none());
    }
}
