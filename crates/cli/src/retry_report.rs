//! Reports waits on stderr.

use std::time::Duration;

use headwater_client::Wait;

/// Shorter waits are not reported.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// Reports a wait for another attempt.
pub(crate) fn tell(wait: &Wait) {
    if wait.delay >= WORTH_TELLING {
        let seconds = wait.delay.as_secs_f64();
        report!("headwater: {}; trying again in {seconds:.0} s", wait.reason);
    }
}
