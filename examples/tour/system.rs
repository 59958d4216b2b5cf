//! Readings of this machine: CPU, memory, disks and network.
//!
//! One thread samples for all readers with the same rate, and ends when the last of them
//! disconnects. A slow reader skips to the newest reading: these are gauges, not a history.

use std::{
    collections::HashMap,
    error::Error,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use futures_core::Stream;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use sysinfo::{Disks, Networks, System};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

/// Step of the rates. CPU use can't be measured over less than 200 ms.
const STEP: Duration = Duration::from_millis(250);
/// The slowest rate. Together with [`STEP`] it bounds the number of sampling threads to 40.
const SLOWEST: Duration = Duration::from_secs(10);
const _: () = assert!(STEP.as_millis() > sysinfo::MINIMUM_CPU_UPDATE_INTERVAL.as_millis());

/// The state of the machine at a point in time. Sizes are in bytes, rates in bytes per second.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Reading {
    /// Time of the reading, in milliseconds since 1970.
    pub(crate) at: u64,
    /// Interval between two readings, in milliseconds.
    pub(crate) every_ms: u64,
    pub(crate) host: Arc<str>,
    /// Seconds since the machine started.
    pub(crate) uptime: u64,
    /// Load averages over 1, 5 and 15 minutes.
    pub(crate) load: [f64; 3],
    pub(crate) cpu: Cpu,
    pub(crate) memory: Space,
    pub(crate) swap: Space,
    pub(crate) disks: Vec<Disk>,
    pub(crate) network: Network,
}

/// Use in percent since the previous reading: total, and of each core.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Cpu {
    pub(crate) percent: f32,
    pub(crate) cores: Vec<f32>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Space {
    pub(crate) total: u64,
    pub(crate) used: u64,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Disk {
    pub(crate) name: String,
    pub(crate) mount: String,
    #[serde(flatten)]
    pub(crate) space: Space,
    pub(crate) read_per_second: u64,
    pub(crate) written_per_second: u64,
}

/// All interfaces together except the loopback, whose traffic stays inside the machine.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Network {
    pub(crate) received_per_second: u64,
    pub(crate) sent_per_second: u64,
    pub(crate) interfaces: Vec<Interface>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) received_per_second: u64,
    pub(crate) sent_per_second: u64,
}

/// The newest reading; `None` before the first.
type Newest = watch::Sender<Option<Arc<Reading>>>;

/// The machine that runs this program.
#[derive(Clone, Default)]
pub(crate) struct Machine {
    /// The running samplers, by rate. A sampler without readers removes itself under this lock. So
    /// a sampler that is found here under the lock continues.
    samplers: Arc<Mutex<HashMap<Duration, Newest>>>,
}

impl Machine {
    /// Returns the newest reading at once, if its rate is already being sampled, then each new one.
    ///
    /// `every` is clamped to 250 ms to 10 s and rounded up to a multiple of 250 ms. Each reading
    /// contains the result.
    ///
    /// # Errors
    /// The system provides no figures, or no thread can be started.
    pub(crate) fn readings(
        &self,
        every: Duration,
    ) -> Result<impl Stream<Item = Arc<Reading>> + use<>, Box<dyn Error + Send + Sync>> {
        let steps = every
            .min(SLOWEST)
            .as_millis()
            .div_ceil(STEP.as_millis())
            .max(1);
        let every = STEP * u32::try_from(steps).unwrap_or(u32::MAX);
        let mut samplers = self.samplers.lock();
        let watcher = match samplers.get(&every) {
            Some(newest) => newest.subscribe(),
            None => {
                let (newest, watcher) = watch::channel(None);
                let (machine, sender) = (self.clone(), newest.clone());
                let sampler = Sampler::new(every)?;
                thread::Builder::new()
                    .name(format!("sample-{}ms", every.as_millis()))
                    .spawn(move || machine.sample(sampler, &sender))?;
                samplers.insert(every, newest);
                watcher
            }
        };
        Ok(WatchStream::new(watcher).filter_map(std::future::ready))
    }

    fn sample(&self, mut sampler: Sampler, newest: &Newest) {
        let every = sampler.every;
        // The baseline of the first differences.
        sampler.read();
        // The first reading comes soon at every rate.
        let mut next = Instant::now() + STEP;
        loop {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            // Aligned to the rate, so that delays don't add up. Realigned after a missed reading.
            let now = Instant::now();
            next = if now.duration_since(next) < every {
                next + every
            } else {
                now + every
            };
            newest.send_replace(Some(Arc::new(sampler.read())));
            let mut samplers = self.samplers.lock();
            if newest.receiver_count() == 0 {
                samplers.remove(&every);
                return;
            }
        }
    }
}

/// The baseline for the differences between two readings.
struct Sampler {
    every: Duration,
    host: Arc<str>,
    read_at: Instant,
    system: System,
    disks: Disks,
    networks: Networks,
}

impl Sampler {
    /// Creates a sampler without reading: the first [`read`](Self::read) returns rates of zero.
    fn new(every: Duration) -> Result<Self, sysinfo::Error> {
        Ok(Self {
            every,
            host: System::host_name().unwrap_or_default().into(),
            read_at: Instant::now(),
            system: System::new()?,
            disks: Disks::new()?,
            networks: Networks::new()?,
        })
    }

    fn read(&mut self) -> Reading {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.disks.refresh(true);
        self.networks.refresh(true);
        let elapsed = self.read_at.elapsed();
        self.read_at = Instant::now();
        let per_second = |bytes: u64| per_second(bytes, elapsed);

        let load = System::load_average().unwrap_or_default();
        Reading {
            at: millis(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()),
            every_ms: millis(self.every),
            host: self.host.clone(),
            uptime: System::uptime().unwrap_or_default(),
            load: [load.one, load.five, load.fifteen],
            cpu: Cpu {
                percent: one_decimal(self.system.global_cpu_usage()),
                cores: self
                    .system
                    .cpus()
                    .iter()
                    .map(|core| one_decimal(core.usage()))
                    .collect(),
            },
            memory: Space {
                total: self.system.total_memory(),
                used: self.system.used_memory(),
            },
            swap: Space {
                total: self.system.total_swap(),
                used: self.system.used_swap(),
            },
            disks: disks(&self.disks, per_second),
            network: network(&self.networks, per_second),
        }
    }
}

/// Returns each device once, by its shortest mount point. Bind mounts list a device several times.
fn disks(disks: &Disks, per_second: impl Fn(u64) -> u64) -> Vec<Disk> {
    let mut all: Vec<Disk> = disks
        .iter()
        .filter(|disk| disk.total_space() > 0)
        .map(|disk| Disk {
            name: disk.name().to_string_lossy().into_owned(),
            mount: disk.mount_point().to_string_lossy().into_owned(),
            space: Space {
                total: disk.total_space(),
                used: disk.total_space().saturating_sub(disk.available_space()),
            },
            read_per_second: per_second(disk.usage().read_bytes),
            written_per_second: per_second(disk.usage().written_bytes),
        })
        .collect();
    all.sort_by(|a, b| (&a.name, a.mount.len()).cmp(&(&b.name, b.mount.len())));
    all.dedup_by(|next, kept| next.name == kept.name);
    all.sort_by(|a, b| a.mount.cmp(&b.mount));
    all
}

fn network(networks: &Networks, per_second: impl Fn(u64) -> u64) -> Network {
    let mut interfaces: Vec<Interface> = networks
        .iter()
        .filter(|(_, data)| data.total_received() + data.total_transmitted() > 0)
        .map(|(name, data)| Interface {
            name: name.to_string_lossy().into_owned(),
            received_per_second: per_second(data.received()),
            sent_per_second: per_second(data.transmitted()),
        })
        .collect();
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    let outward = || {
        interfaces
            .iter()
            .filter(|interface| !is_loopback(&interface.name))
    };
    Network {
        received_per_second: outward()
            .map(|interface| interface.received_per_second)
            .sum(),
        sent_per_second: outward().map(|interface| interface.sent_per_second).sum(),
        interfaces,
    }
}

fn is_loopback(interface: &str) -> bool {
    interface == "lo" || interface == "lo0"
}

fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    let millis = u128::from(millis(elapsed)).max(1);
    u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn one_decimal(percent: f32) -> f32 {
    (percent * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    async fn within<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), work)
            .await
            .expect("it took too long")
    }

    #[tokio::test]
    async fn a_reading_describes_this_machine() {
        let machine = Machine::default();
        let mut readings = pin!(machine.readings(Duration::from_millis(1)).unwrap());
        let first = within(readings.next()).await.unwrap();
        assert_eq!(first.every_ms, 250);
        assert!(!first.cpu.cores.is_empty());
        assert!(first.memory.used > 0 && first.memory.used <= first.memory.total);
        assert!(
            first
                .disks
                .iter()
                .all(|disk| disk.space.used <= disk.space.total)
        );
        let second = within(readings.next()).await.unwrap();
        assert!(second.at > first.at);
        assert!(
            (0.0..=100.0).contains(&second.cpu.percent),
            "{}",
            second.cpu.percent
        );
    }

    #[tokio::test]
    async fn readers_at_one_rate_share_a_sampler_that_ends_with_the_last_reader() {
        let machine = Machine::default();
        let mut one = Box::pin(machine.readings(STEP).unwrap());
        let mut two = Box::pin(machine.readings(STEP).unwrap());
        let mut slow = Box::pin(machine.readings(Duration::from_millis(400)).unwrap());
        assert_eq!(machine.samplers.lock().len(), 2);
        assert_eq!(within(slow.next()).await.unwrap().every_ms, 500);
        let (a, b) = within(async { (one.next().await.unwrap(), two.next().await.unwrap()) }).await;
        // A reading may arrive between the two calls, but both come from the same sampler.
        assert!(Arc::ptr_eq(&a, &b) || a.at != b.at);
        drop((one, slow));
        within(two.next()).await.unwrap();
        drop(two);
        within(async {
            while !machine.samplers.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    #[test]
    fn a_rate_depends_on_the_elapsed_time() {
        assert_eq!(per_second(500, Duration::from_millis(250)), 2000);
        assert_eq!(per_second(500, Duration::from_secs(2)), 250);
        assert_eq!(per_second(u64::MAX, Duration::ZERO), u64::MAX);
    }
}
