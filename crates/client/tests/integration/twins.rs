//! One test body for two clients.

/// Defines each function as a test of the async and of the blocking client. In its body, `client`
/// is the module under test, `wait` returns the result of a request's last step, `pause` lets time
/// pass, and `next` and `all` read items.
macro_rules! twins {
    ($($(#[$meta:meta])* fn $name:ident() $body:block)*) => {
        mod asynchronous {
            #[allow(unused_imports)]
            use super::*;
            #[allow(unused_imports)]
            use headwater_client as client;
            #[allow(unused_imports)]
            use crate::twins::asynchronous::*;
            $($(#[$meta])* #[test] fn $name() $body)*
        }
        mod blocking {
            #[allow(unused_imports)]
            use super::*;
            #[allow(unused_imports)]
            use headwater_client::blocking as client;
            #[allow(unused_imports)]
            use crate::twins::blocking::*;
            $($(#[$meta])* #[test] fn $name() $body)*
        }
    };
}

pub(crate) mod asynchronous {
    use std::time::Duration;

    use headwater_client::{
        Error, Items,
        gather::{GatherResult, GatherResults},
    };
    use tokio::runtime::{Builder, Runtime};

    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
    }

    pub(crate) fn wait<F: Future>(future: F) -> F::Output {
        RUNTIME.with(|runtime| runtime.block_on(future))
    }

    /// Waits this long for data in flight.
    pub(crate) fn pause(time: Duration) {
        wait(async { tokio::time::sleep(time).await });
    }

    pub(crate) fn next<T>(items: &mut Items<T>) -> Option<Result<T, Error>> {
        wait(items.next())
    }

    /// All items and the errors among them, in order.
    pub(crate) fn all<T>(items: Result<Items<T>, Error>) -> Vec<Result<T, Error>> {
        let mut items = items.unwrap();
        std::iter::from_fn(|| next(&mut items)).collect()
    }

    pub(crate) fn next_result(results: &mut GatherResults) -> Option<GatherResult> {
        wait(results.next())
    }

    /// All results, in the order of their arrival.
    pub(crate) fn gathered(results: Result<GatherResults, Error>) -> Vec<GatherResult> {
        let mut results = results.unwrap();
        std::iter::from_fn(|| next_result(&mut results)).collect()
    }
}

pub(crate) mod blocking {
    use std::time::Duration;

    use headwater_client::{
        Error,
        blocking::Items,
        blocking::gather::{GatherResult, GatherResults},
    };

    pub(crate) fn wait<T>(value: T) -> T {
        value
    }

    pub(crate) fn pause(time: Duration) {
        std::thread::sleep(time);
    }

    pub(crate) fn next<T>(items: &mut Items<T>) -> Option<Result<T, Error>> {
        items.next()
    }

    /// All items and the errors among them, in order.
    pub(crate) fn all<T>(items: Result<Items<T>, Error>) -> Vec<Result<T, Error>> {
        items.unwrap().collect()
    }

    pub(crate) fn next_result(results: &mut GatherResults) -> Option<GatherResult> {
        results.next()
    }

    /// All results, in the order of their arrival.
    pub(crate) fn gathered(results: Result<GatherResults, Error>) -> Vec<GatherResult> {
        results.unwrap().collect()
    }
}

/// The items, none of which may be an error.
pub(crate) fn good<T>(items: Vec<Result<T, headwater_client::Error>>) -> Vec<T> {
    items.into_iter().collect::<Result<_, _>>().unwrap()
}

/// The items before the error that ends them.
pub(crate) fn cut_short<T: std::fmt::Debug>(
    mut items: Vec<Result<T, headwater_client::Error>>,
) -> (Vec<T>, headwater_client::Error) {
    let error = items
        .pop()
        .expect("there is an error")
        .expect_err("it ends with an error");
    (good(items), error)
}
