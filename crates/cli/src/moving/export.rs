//! `headwater export`: writes streams of a hub.

use std::{
    fs::{self, File},
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args as ClapArgs;
use headwater_wire::terminal::ShellWord;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde::Deserialize;

use crate::{
    exit::Failure,
    file::{self, Place, is_same},
    hub_options::Hub,
    interrupt::Interrupt,
    progress::{EVERY, spinner},
};

/// Bytes of a line that are looked at. A line that isn't a message is shorter, unless it has a schema.
const LOOK: usize = 16 << 10;

#[derive(ClapArgs)]
pub(crate) struct Export {
    /// Export only this stream: its path at the hub
    stream: Option<String>,

    /// Export only streams whose path starts with this
    #[arg(long, conflicts_with = "stream")]
    prefix: Option<String>,

    /// Continue an export that was interrupted: export only the streams after this one
    #[arg(long, value_name = "STREAM", conflicts_with = "stream")]
    after: Option<String>,

    /// Write to this file, which is replaced when the export is complete; without it, or with `-`, to
    /// the standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    hub: Hub,
}

pub(crate) async fn run(args: Export, mut interrupt: Interrupt) -> Result<(), Failure> {
    let mut seen = Seen::new();
    let outcome = tokio::select! {
        done = export(&args, &mut seen) => done,
        number = interrupt.wait() => Err(Failure::signal(number)),
    };
    seen.bar.finish_and_clear();
    match &outcome {
        Ok(()) => report!("{}", seen.summary()),
        Err(_) => {
            if let Some(last) = &seen.last {
                let after = ShellWord(last);
                report!(
                    "headwater: complete up to {last}: --after={after} continues in another file"
                );
            }
        }
    }
    outcome?;
    match seen.is_damaged {
        true => Err(Failure::damaged()),
        false => Ok(()),
    }
}

async fn export(args: &Export, seen: &mut Seen) -> Result<(), Failure> {
    let client = args.hub.client()?;
    let mut request = client.get(args.hub.at("/export"));
    for (name, value) in [
        ("stream", &args.stream),
        ("prefix", &args.prefix),
        ("after", &args.after),
    ] {
        if let Some(value) = value {
            request = request.query(name, value.trim_start_matches('/'));
        }
    }
    let mut chunks = request.raw().await?;
    let mut output = Output::open(args.output.as_deref())?;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if !output.write(&chunk)? {
            return Ok(());
        }
        seen.look(&chunk);
    }
    if !seen.is_complete {
        return Err(Failure::other(
            "the export was cut off: its last line is missing",
        ));
    }
    output.finish()
}

/// The output. A regular file is written under another name until it is complete.
enum Output {
    Stdout(io::Stdout),
    Special(File, PathBuf),
    New {
        file: File,
        part: PathBuf,
        path: PathBuf,
    },
}

impl Output {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Place::Path(path) = Place::output(path) else {
            return Ok(Self::Stdout(io::stdout()));
        };
        let open = || {
            if fs::metadata(path).is_ok_and(|it| !it.is_file()) {
                let file = File::options().write(true).open(path)?;
                return Ok(Self::Special(file, path.to_owned()));
            }
            let mut part = path.as_os_str().to_owned();
            part.push(".part");
            let part = PathBuf::from(part);
            Ok(Self::New {
                file: create_alone(&part)?,
                part,
                path: path.to_owned(),
            })
        };
        open().map_err(|error: io::Error| {
            Failure::other(format!("--output {}: {error}", path.display()))
        })
    }

    /// Writes a chunk. Returns `false` if the reader of the output is gone.
    fn write(&mut self, chunk: &[u8]) -> Result<bool, Failure> {
        let (written, path) = match self {
            Self::Stdout(stdout) => {
                let written = stdout.write_all(chunk).and_then(|()| stdout.flush());
                (written, Path::new("the standard output"))
            }
            Self::Special(file, path)
            | Self::New {
                file, part: path, ..
            } => (file.write_all(chunk), path.as_path()),
        };
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(failed(path, &error)),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        if let Self::New { file, part, path } = self {
            let done = file.sync_all().and_then(|()| fs::rename(&part, &path));
            done.map_err(|error| failed(&path, &error))?;
        }
        Ok(())
    }
}

/// Creates a file, or empties one that an interrupted export has left.
///
/// # Errors
/// Another command writes to it.
fn create_alone(path: &Path) -> io::Result<File> {
    loop {
        let mut options = File::options();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file::lock(&file)?;
        // Before the lock, another export may have completed this file and given it its name.
        if fs::metadata(path)
            .is_ok_and(|there| file.metadata().is_ok_and(|it| is_same(&it, &there)))
        {
            file.set_len(0)?;
            return Ok(file);
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::other(format!("{}: {error}", path.display()))
}

/// The progress, from the lines that were written.
struct Seen {
    bar: ProgressBar,
    told: Instant,
    /// The start of the present line.
    line: Vec<u8>,
    lines: u64,
    bytes: u64,
    streams: u64,
    /// The last stream that is complete.
    last: Option<String>,
    is_damaged: bool,
    is_complete: bool,
}

/// The lines that matter here.
#[derive(Deserialize)]
struct Line {
    end: Option<String>,
    /// A name, or in the last line a number.
    dropped: Option<serde_json::Value>,
    why: Option<String>,
    complete: Option<bool>,
}

impl Seen {
    fn new() -> Self {
        Self {
            bar: spinner(io::stderr().is_terminal()),
            told: Instant::now(),
            line: Vec::new(),
            lines: 0,
            bytes: 0,
            streams: 0,
            last: None,
            is_damaged: false,
            is_complete: false,
        }
    }

    fn look(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            let room = LOOK.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
        if self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            self.bar.set_message(self.summary());
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.lines += 1;
        let begins = |start: &str| line.starts_with(start.as_bytes());
        if !["{\"end\"", "{\"dropped\"", "{\"complete\""]
            .into_iter()
            .any(begins)
        {
            // Its memory is used for the next line.
            self.line = line;
            self.line.clear();
            return;
        }
        let Ok(line) = serde_json::from_slice::<Line>(&line) else {
            return;
        };
        if let Some(stream) = line.end {
            self.streams += 1;
            self.last = Some(stream);
        }
        if let Some(serde_json::Value::String(stream)) = line.dropped {
            let why = line.why.unwrap_or_default();
            self.is_damaged |= why.contains("damaged");
            self.bar
                .suspend(|| report!("headwater: {stream} isn't exported: {why}"));
        }
        self.is_complete |= line.complete == Some(true);
    }

    fn summary(&self) -> String {
        let plural = if self.streams == 1 { "" } else { "s" };
        format!(
            "{} stream{plural}, {} lines, {}",
            HumanCount(self.streams),
            HumanCount(self.lines),
            HumanBytes(self.bytes)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_recognised_however_they_are_cut() {
        let text = "{\"headwater\":\"export\"}\n{\"stream\":\"a\"}\n{\"offset\":0,\"json\":{\"end\":1}}\n\
                    {\"end\":\"a\",\"messages\":1}\n{\"stream\":\"b\"}\n{\"dropped\":\"b\",\"why\":\"the data of the stream is damaged\"}\n\
                    {\"complete\":true,\"streams\":1,\"dropped\":1}\n";
        for size in [1, 7, text.len()] {
            let mut seen = Seen::new();
            seen.bar = ProgressBar::hidden();
            text.as_bytes()
                .chunks(size)
                .for_each(|chunk| seen.look(chunk));
            assert_eq!((seen.streams, seen.last.as_deref()), (1, Some("a")));
            assert!(seen.is_complete && seen.is_damaged);
            assert_eq!(seen.lines, 7);
        }
    }
}
