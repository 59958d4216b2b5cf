//! The journal on a disk that loses, tears and fails.

mod crashes;
mod damage;
mod failures;
mod indexes;
mod model;
mod new_files;
mod recycling;
mod sim;
mod tables;

/// Returns the seeds of a test: a few, or as many as `HEADWATER_JOURNAL_SEEDS` says, for hours by
/// hand.
fn seeds(few: u64) -> std::ops::Range<u64> {
    let wanted = std::env::var("HEADWATER_JOURNAL_SEEDS");
    0..wanted.map_or(few, |wanted| wanted.parse().expect("it is a number"))
}
