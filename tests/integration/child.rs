//! The application or a hub in its own process.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// A server process. It is killed on drop, if it still runs.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts the application, with a shutdown deadline.
    pub(crate) fn start(deadline: Duration) -> io::Result<Self> {
        let deadline = deadline.as_millis().to_string();
        Self::spawn(env!("CARGO_BIN_EXE_fault-server"), &[&deadline])
    }

    /// Starts a hub with its log in the folder `data`.
    pub(crate) fn start_hub(data: &Path, options: &[&str]) -> io::Result<Self> {
        let data = data
            .to_str()
            .ok_or_else(|| io::Error::other("a folder that is no text"))?;
        let arguments = [&["--data", data], options].concat();
        Self::spawn(env!("CARGO_BIN_EXE_hub-server"), &arguments)
    }

    fn spawn(program: &str, arguments: &[&str]) -> io::Result<Self> {
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim().trim_start_matches("listening on http://");
        match address.parse() {
            Ok(address) => Ok(Self { process, address }),
            Err(_) => {
                process.kill()?;
                process.wait()?;
                Err(io::Error::other(format!(
                    "the server said {line:?} in place of its address"
                )))
            }
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Kills the process with SIGKILL, as a crash does, and waits for its exit.
    pub(crate) fn crash(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Sends SIGTERM, as an operator or a service manager does.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the process has no id"))?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Waits for the process to exit by itself. Returns an error after `limit`.
    pub(crate) async fn exit(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                return Err(io::Error::other(format!(
                    "the server still runs after {limit:?}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns the resident memory of the process in bytes.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let kib = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        });
        let kib: u64 = kib.ok_or_else(|| io::Error::other("no VmRSS in /proc/PID/status"))?;
        Ok(kib * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have exited already, so errors are ignored.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
