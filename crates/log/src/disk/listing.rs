//! Listings of streams.

use super::engine::Engine;
use super::format::keys;
use super::store::Store;
use super::stream::usable;
use crate::error::Error;
use crate::limits;
use crate::name::StreamName;
use crate::read::Page;

/// Returns a page of the streams that can be used.
pub(super) fn list(
    engine: &Engine,
    store: &Store,
    prefix: &str,
    after: Option<&StreamName>,
    limit: usize,
) -> Result<Page, Error> {
    let now = engine.now();
    let mut from = match after {
        Some(after) if after.as_str() >= prefix => {
            let mut key = keys::name(after.as_str());
            key.push(0);
            key
        }
        _ => keys::name(prefix),
    };
    let mut page = Page {
        streams: Vec::new(),
        after: None,
    };
    let end = keys::after_names();
    let mut last = None;
    let mut seen = 0;
    loop {
        // One more than fits, to see that more follow.
        let wanted = (limit - page.streams.len() + 1).min(4 * limits::PAGE - seen + 1);
        let found = store.keys(&from, &end, wanted)?;
        let is_last = found.len() < wanted;
        for key in found {
            let Some(name) = keys::name_of(&key).filter(|name| name.starts_with(prefix)) else {
                return Ok(page);
            };
            if page.streams.len() == limit || seen == 4 * limits::PAGE {
                page.after = last;
                return Ok(page);
            }
            seen += 1;
            let name = StreamName::new(name)?;
            if let Some(stream) = engine.cache.load(store, &name)?
                && usable(&stream, || now).is_ok()
            {
                page.streams.push(stream.info());
            }
            last = Some(name);
            from = key;
            from.push(0);
        }
        if is_last {
            return Ok(page);
        }
    }
}
