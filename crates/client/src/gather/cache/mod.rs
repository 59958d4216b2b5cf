//! A private cache of answers (RFC 9111).
//!
//! The crate `http-cache-semantics` (3.0.0) doesn't replace the rules in `control` and `stored`. It
//! compares the names of directives by case, so it stores a response with `No-Store` (§5.2). It
//! compares only the first value of a header that `Vary` names (§4.1). It ignores a header that only
//! the 304 has, and keeps one value of a repeated header (§3.2). It ignores the age that `Date`
//! shows (§4.2.3) and the time that the request took, and reads no date in an obsolete format (RFC
//! 9110 §5.6.7). Each of these has a test here.

mod control;
mod stored;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use http::{HeaderMap, Method, header};
use parking_lot::Mutex;
use reqwest::Url;
use tokio::time::Instant;

use self::control::Control;
pub(super) use self::stored::{Stored, Times};
use super::Answer;
use crate::plan::without_fragment;

/// Maximum number of stored responses for one URL, which differ by `Vary`.
const MAX_VARIANTS: usize = 16;

/// A cache that stores answers to GETs and reuses them, as HTTP allows for a private cache (RFC
/// 9111).
///
/// An answer is reused without a call while it is fresh by its `Cache-Control: max-age` or
/// `Expires`. After that it is revalidated by its `ETag` or `Last-Modified`, and reused if the
/// server confirms it (304). `no-store` and `no-cache`, of the call or of the answer, and `Vary`
/// are respected. There is no heuristic freshness: an answer without an explicit lifetime is
/// revalidated. A successful call of an unsafe method (POST, PUT, …) invalidates the stored
/// responses for its URL. Calls with a `Range` or with their own conditions bypass the cache, and a
/// response to a redirected call isn't stored.
///
/// The cache is in memory. Clones are cheap and share the stored responses, so several
/// [`gather`](crate::gather())s can use one. The responses may be meant for one user: use a
/// separate cache for each.
///
/// ```no_run
/// use headwater_client::gather::Cache;
///
/// # async fn run(urls: Vec<String>) -> Result<(), headwater_client::Error> {
/// let cache = Cache::new(64 << 20);
/// let mut results = headwater_client::gather(urls).cache(cache.clone()).send()?;
/// while let Some(result) = results.next().await {
///     println!("{} from the cache: {}", result.url, result.outcome?.is_cached());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cache(Arc<Mutex<Store>>);

/// The result of a lookup in the cache.
pub(super) enum Found {
    Nothing,
    Fresh(Answer),
    /// A stored response that must be revalidated, by its `conditions`.
    Stale(Arc<Stored>),
}

impl Cache {
    /// Creates a cache of at most `max_bytes` bytes: bodies, headers, URLs, and an estimate of the
    /// overhead. The least recently used URLs are evicted first.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Store {
            max_bytes,
            bytes: 0,
            pages: HashMap::new(),
            by_use: BTreeMap::new(),
            clock: 0,
        })))
    }

    /// The number of stored bytes, counted as for [`new`](Self::new).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.lock().bytes
    }

    /// Removes all stored responses.
    pub fn clear(&self) {
        let mut store = self.0.lock();
        store.pages.clear();
        store.by_use.clear();
        store.bytes = 0;
    }

    /// Looks up the response for a call with these headers.
    pub(super) fn look(&self, url: &Url, headers: &HeaderMap, now: Instant) -> Found {
        let Some(stored) = self.0.lock().find(without_fragment(url), headers) else {
            return Found::Nothing;
        };
        if stored.is_fresh(&Control::of(headers), now) {
            Found::Fresh(stored.answer(now))
        } else {
            Found::Stale(stored)
        }
    }

    /// Stores the answer to a call, if it may be stored.
    pub(super) fn keep(&self, url: &Url, headers: &HeaderMap, answer: &Answer, times: Times) {
        let url = without_fragment(url);
        match Stored::new(headers, answer, times) {
            Some(stored) => self.0.lock().insert(url, stored),
            // The stored response is outdated.
            None if answer.status.is_success() => self.0.lock().remove(url),
            None => {}
        }
    }

    /// Updates and returns a stored response that the server has confirmed.
    pub(super) fn confirm(
        &self,
        url: &Url,
        headers: &HeaderMap,
        stored: &Stored,
        confirmation: &HeaderMap,
        times: Times,
    ) -> Answer {
        let answer = stored.confirmed(confirmation);
        self.keep(url, headers, &answer, times);
        answer
    }

    /// Removes the stored responses for a URL whose resource a call has changed (§4.4).
    pub(super) fn invalidate(&self, url: &Url) {
        self.0.lock().remove(without_fragment(url));
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes();
        f.debug_struct("Cache")
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

/// Returns `true` if the cache applies to such a call.
pub(super) fn is_cacheable(method: &Method, headers: &HeaderMap) -> bool {
    let own = [
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_RANGE,
        header::IF_UNMODIFIED_SINCE,
        header::RANGE,
    ];
    *method == Method::GET
        && !own.iter().any(|name| headers.contains_key(name))
        && !Control::of(headers).no_store
}

struct Store {
    max_bytes: usize,
    bytes: usize,
    pages: HashMap<Arc<str>, Page>,
    /// The URLs, the least recently used first.
    by_use: BTreeMap<u64, Arc<str>>,
    clock: u64,
}

/// The stored responses for one URL.
#[derive(Default)]
struct Page {
    variants: Vec<Arc<Stored>>,
    used: u64,
    bytes: usize,
}

impl Store {
    fn find(&mut self, url: &str, headers: &HeaderMap) -> Option<Arc<Stored>> {
        let (url, page) = self.pages.get_key_value(url)?;
        let found = page
            .variants
            .iter()
            .rev()
            .find(|stored| stored.is_for(headers))?;
        let (url, found) = (Arc::clone(url), Arc::clone(found));
        self.touch(&url);
        Some(found)
    }

    fn insert(&mut self, url: &str, stored: Stored) {
        let url = match self.pages.get_key_value(url) {
            Some((url, _)) => Arc::clone(url),
            None => Arc::from(url),
        };
        let page = self.pages.entry(Arc::clone(&url)).or_default();
        page.variants.retain(|other| !stored.replaces(other));
        if page.variants.len() == MAX_VARIANTS {
            page.variants.remove(0);
        }
        page.variants.push(Arc::new(stored));
        self.bytes -= page.bytes;
        page.bytes = url.len() + page.variants.iter().map(|one| one.bytes()).sum::<usize>();
        self.bytes += page.bytes;
        self.touch(&url);
        while self.bytes > self.max_bytes
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            if let Some(page) = self.pages.remove(&oldest) {
                self.bytes -= page.bytes;
            }
        }
    }

    fn remove(&mut self, url: &str) {
        if let Some(page) = self.pages.remove(url) {
            self.by_use.remove(&page.used);
            self.bytes -= page.bytes;
        }
    }

    fn touch(&mut self, url: &Arc<str>) {
        if let Some(page) = self.pages.get_mut(url) {
            self.clock += 1;
            self.by_use.remove(&page.used);
            page.used = self.clock;
            self.by_use.insert(self.clock, Arc::clone(url));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;
    use http::{HeaderValue, StatusCode};

    use super::*;

    fn url(n: usize) -> Url {
        Url::parse(&format!("http://a.example/{n}#fragment")).unwrap()
    }

    fn keep(cache: &Cache, n: usize, request: &HeaderMap, vary: &'static str, body: &'static str) {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("max-age=60"),
        );
        headers.insert(header::VARY, HeaderValue::from_static(vary));
        let answer = Answer {
            status: StatusCode::OK,
            headers,
            body: Bytes::from_static(body.as_bytes()),
            cached: false,
        };
        let now = Instant::now();
        let times = Times {
            sent: now,
            received: now,
            date: SystemTime::now(),
        };
        cache.keep(&url(n), request, &answer, times);
    }

    fn found(cache: &Cache, n: usize, request: &HeaderMap) -> Option<Bytes> {
        match cache.look(&url(n), request, Instant::now()) {
            Found::Fresh(answer) => Some(answer.body),
            Found::Nothing | Found::Stale(_) => None,
        }
    }

    #[test]
    fn the_least_recently_used_is_evicted_and_the_size_is_bounded() {
        let none = HeaderMap::new();
        let cache = Cache::new(usize::MAX);
        keep(&cache, 0, &none, "", "0123456789");
        let one = cache.bytes();
        let cache = Cache::new(3 * one);
        for n in 0..3 {
            keep(&cache, n, &none, "", "0123456789");
        }
        assert_eq!(cache.bytes(), 3 * one);
        assert!(found(&cache, 0, &none).is_some());
        keep(&cache, 3, &none, "", "0123456789");
        let left: Vec<_> = (0..4)
            .filter(|n| found(&cache, *n, &none).is_some())
            .collect();
        assert_eq!(left, [0, 2, 3]);
        assert_eq!(cache.bytes(), 3 * one);
        let cache = Cache::new(one - 1);
        keep(&cache, 0, &none, "", "0123456789");
        assert_eq!((found(&cache, 0, &none), cache.bytes()), (None, 0));
    }

    #[test]
    fn variants_of_a_url_are_kept_up_to_their_maximum() {
        let cache = Cache::new(usize::MAX);
        let request = |n: usize| HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from(n))]);
        for n in 0..=MAX_VARIANTS {
            keep(&cache, 0, &request(n), "accept", "body");
        }
        assert_eq!(found(&cache, 0, &request(0)), None);
        assert!((1..=MAX_VARIANTS).all(|n| found(&cache, 0, &request(n)).is_some()));
        keep(&cache, 0, &request(5), "accept", "newer");
        assert_eq!(found(&cache, 0, &request(5)).unwrap(), "newer");
        cache.invalidate(&url(0));
        assert_eq!((found(&cache, 0, &request(5)), cache.bytes()), (None, 0));
    }
}
