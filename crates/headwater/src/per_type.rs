//! Values that are created once for each type.

use std::{
    any::{Any, TypeId},
    cell::RefCell,
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use parking_lot::Mutex;

/// A hasher for type ids, which are hashes already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 ^= hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Shared = &'static (dyn Any + Send + Sync);
type ByType = HashMap<(TypeId, TypeId), Shared, BuildHasherDefault<Identity>>;

static ALL: Mutex<Option<ByType>> = Mutex::new(None);

thread_local! {
    /// Values that this thread has looked up before, so that requests don't contend for the lock.
    static KNOWN: RefCell<ByType> = RefCell::default();
}

/// Returns the `V` of type `T`. It is created on first use and never freed; the number of types is
/// finite.
pub(crate) fn per_type<T, V>(make: impl FnOnce() -> V) -> &'static V
where
    T: 'static,
    V: Any + Send + Sync,
{
    let key = (TypeId::of::<T>(), TypeId::of::<V>());
    let known = KNOWN.with_borrow(|known| known.get(&key).copied());
    let shared = known.unwrap_or_else(|| {
        // Created outside the lock, so that a panic in `make` affects only the caller. The first of
        // two values wins.
        let made = ALL.lock().as_ref().and_then(|all| all.get(&key).copied());
        let shared = made.unwrap_or_else(|| {
            let made: Shared = Box::leak(Box::new(make()));
            *ALL.lock()
                .get_or_insert_default()
                .entry(key)
                .or_insert(made)
        });
        KNOWN.with_borrow_mut(|known| known.insert(key, shared));
        shared
    });
    shared
        .downcast_ref()
        .unwrap_or_else(|| unreachable!("the key holds the type of the value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_created_once_for_each_type() {
        let first = per_type::<u8, String>(|| "made".to_owned());
        let again = per_type::<u8, String>(|| unreachable!());
        assert!(std::ptr::eq(first, again));
        std::thread::spawn(|| assert_eq!(per_type::<u8, String>(|| unreachable!()), "made"))
            .join()
            .unwrap();
        assert_eq!(per_type::<u16, String>(|| "other".to_owned()), "other");
        assert_eq!(*per_type::<u8, usize>(|| 7), 7);
    }
}
