//! `headwater keys`: creates, lists and revokes the keys of a hub.

use std::{
    fs::DirBuilder,
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use clap::{Args as ClapArgs, Subcommand};
use headwater_auth::{Grant, Grants, KeyFile, KeyInfo, Rates};
use serde::Serialize;

use crate::{
    args::lifetime,
    exit::{self, Failure},
    get::time,
    help,
    output_line::{on_one_line, say},
    serve::{DEFAULT_DATA, MEMORY},
};

/// The name of the key file in the data folder.
const FILE_NAME: &str = "keys.json";

#[derive(ClapArgs)]
pub(crate) struct Keys {
    #[command(subcommand)]
    what: What,

    #[command(flatten)]
    place: KeyPlace,
}

#[derive(Subcommand)]
enum What {
    /// Create a key and print it: the only time that it is shown
    #[command(after_help = help::KEYS_CREATE, after_long_help = help::long(help::KEYS_CREATE, exit::LOCAL_EXIT_CODES))]
    Create(Create),
    /// List keys: id, state, expiry, name, own rates and grants of each, with a heading on a terminal
    #[command(after_help = help::KEYS_LS, after_long_help = help::long(help::KEYS_LS, exit::LOCAL_EXIT_CODES))]
    Ls(List),
    /// Revoke a key; what it has open is cut within a second
    #[command(after_help = help::KEYS_REVOKE, after_long_help = help::long(help::KEYS_REVOKE, exit::LOCAL_EXIT_CODES))]
    Revoke(Revoke),
}

#[derive(ClapArgs)]
struct KeyPlace {
    /// The key file, as the hub's --keys [default: keys.json in the data folder]
    #[arg(long, value_name = "FILE", env = "HEADWATER_KEYS", global = true)]
    keys: Option<PathBuf>,

    /// The data folder of the hub [default: ./headwater-data]
    #[arg(
        short,
        long,
        value_name = "FOLDER",
        env = "HEADWATER_DATA",
        global = true
    )]
    data: Option<PathBuf>,
}

#[derive(ClapArgs)]
struct Create {
    /// The name of the key, for the hub's log and for `revoke`
    #[arg(long, value_name = "NAME")]
    name: String,

    /// Allow actions on streams: `read,publish:orders/**`; may be repeated
    #[arg(long, value_name = "GRANT", required = true, num_args = 1..)]
    allow: Vec<Grant>,

    /// Let the key expire after this time: 24h, 90d [default: never]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    expires: Option<Duration>,

    /// Limit what the key may use: `requests=100,open=20` [default: the hub's --key-rates]
    ///
    /// The form is that of `headwater serve --address-rates`. Each limit replaces the hub's.
    #[arg(long, value_name = "LIMITS")]
    rates: Option<Rates>,
}

#[derive(ClapArgs)]
struct List {
    /// Print each key as an object, one per line
    #[arg(long)]
    json: bool,
}

#[derive(ClapArgs)]
struct Revoke {
    /// The id of the key, or its name
    #[arg(value_name = "ID_OR_NAME")]
    key: String,
}

/// Returns the path of the key file in a data folder, or `None` if the data are in memory.
pub(crate) fn file_in(data: &Path) -> Option<PathBuf> {
    let is_folder = data != Path::new(MEMORY) && !data.to_string_lossy().contains("://");
    is_folder.then(|| data.join(FILE_NAME))
}

pub(crate) fn run(args: Keys) -> Result<(), Failure> {
    let (file, data) = args.place.file()?;
    let now = SystemTime::now();
    match args.what {
        What::Create(args) => create(args, &file, data.as_deref(), now),
        What::Ls(args) => list(&args, &file, now),
        What::Revoke(args) => {
            let key = file
                .revoke(&args.key, now)
                .map_err(|error| at(&file, &error))?;
            say(&format!("{} ({}) is revoked", key.id, key.name))
        }
    }
}

impl KeyPlace {
    /// Returns the key file, and the data folder if the file is in it.
    fn file(self) -> Result<(KeyFile, Option<PathBuf>), Failure> {
        if let Some(keys) = self.keys {
            return Ok((KeyFile::new(keys), None));
        }
        let data = self.data.unwrap_or_else(|| DEFAULT_DATA.into());
        if let Some(file) = file_in(&data) {
            return Ok((KeyFile::new(file), Some(data)));
        }
        let what = match data == Path::new(MEMORY) {
            true => "data in memory",
            false => "a cluster",
        };
        Err(Failure::usage(format!(
            "{what} has no data folder with a key file: --keys FILE names one, here and for `headwater serve`"
        )))
    }
}

/// Names the file in an error that doesn't.
fn at(file: &KeyFile, error: &headwater_auth::KeyFileError) -> Failure {
    match error {
        headwater_auth::KeyFileError::Refused(_) => {
            Failure::other(format!("{}: {error}", file.path().display()))
        }
        _ => Failure::other(error),
    }
}

fn create(
    args: Create,
    file: &KeyFile,
    data: Option<&Path>,
    now: SystemTime,
) -> Result<(), Failure> {
    let grants =
        Grants::new(args.allow).map_err(|error| Failure::usage(format!("--allow: {error}")))?;
    if let Some(folder) = data {
        // As the hub creates it.
        let created = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        created.map_err(|error| Failure::other(format!("{}: {error}", folder.display())))?;
    }
    let expires = args.expires.map(|lifetime| now + lifetime);
    let key = file
        .create_with_rates(
            &args.name,
            grants,
            args.rates.unwrap_or_default(),
            expires,
            now,
        )
        .map_err(|error| at(file, &error))?;
    let info = key.info();
    let mut out = io::stdout().lock();
    // Unlike other output, a key that wasn't printed is lost.
    writeln!(out, "{}", key.token())
        .and_then(|()| out.flush())
        .map_err(|error| {
            Failure::other(format!(
                "the standard output: {error}; the key is lost: `headwater keys revoke {}`",
                info.id
            ))
        })?;
    report!(
        "The key {} ({}) is in {}, by its hash: it can't be shown again.",
        info.id,
        info.name,
        file.path().display()
    );
    Ok(())
}

fn list(args: &List, file: &KeyFile, now: SystemTime) -> Result<(), Failure> {
    let keys = file.list().map_err(|error| at(file, &error))?;
    if keys.is_empty() {
        report!("{} has no keys", file.path().display());
        return Ok(());
    }
    if args.json {
        return (keys.iter()).try_for_each(|key| say(&on_one_line(&Listed::of(key, now))?));
    }
    let table = Table::of(&keys);
    if io::stdout().is_terminal() {
        say(&table.heading())?;
    }
    keys.iter().try_for_each(|key| say(&table.line(key, now)))
}

/// A key as an object.
#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    name: &'a str,
    state: &'static str,
    grants: &'a Grants,
    #[serde(skip_serializing_if = "Rates::is_unlimited")]
    rates: Rates,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
}

impl<'a> Listed<'a> {
    fn of(key: &'a KeyInfo, now: SystemTime) -> Self {
        Self {
            id: &key.id,
            name: &key.name,
            state: state(key, now),
            grants: &key.grants,
            rates: key.rates,
            created: time::to_the_second(key.created),
            expires: key.expires.map(time::to_the_second),
            revoked: key.revoked.map(time::to_the_second),
        }
    }
}

fn state(key: &KeyInfo, now: SystemTime) -> &'static str {
    match (key.revoked, key.expires) {
        (Some(_), _) => "revoked",
        (None, Some(expires)) if expires <= now => "expired",
        _ => "valid",
    }
}

/// The columns of a list of keys, for people.
struct Table {
    name_width: usize,
    /// `None` if no key has rates of its own.
    rates_width: Option<usize>,
}

impl Table {
    fn of(keys: &[KeyInfo]) -> Self {
        let widest = |width: fn(&KeyInfo) -> usize| keys.iter().map(width).max().unwrap_or(0);
        let has_rates = keys.iter().any(|key| !key.rates.is_unlimited());
        let rates_width = widest(|key| rates(key).len()).max(RATES.len());
        Self {
            name_width: widest(|key| key.name.chars().count()),
            rates_width: has_rates.then_some(rates_width),
        }
    }

    fn heading(&self) -> String {
        self.columns(["ID", "STATE", "EXPIRES", "NAME", RATES, "GRANTS"])
    }

    fn line(&self, key: &KeyInfo, now: SystemTime) -> String {
        let expires = key.expires.map(time::to_the_second);
        let expires = expires.as_deref().unwrap_or("never");
        let grants: Vec<_> = key.grants.iter().map(Grant::to_string).collect();
        let (rates, grants) = (rates(key), grants.join(" "));
        self.columns([
            &key.id,
            state(key, now),
            expires,
            &key.name,
            &rates,
            &grants,
        ])
    }

    fn columns(&self, [id, state, expires, name, rates, grants]: [&str; 6]) -> String {
        let rates = match self.rates_width {
            Some(width) => format!("{rates:<width$} "),
            None => String::new(),
        };
        let width = self.name_width;
        format!("{id:<12} {state:<7} {expires:<20} {name:<width$} {rates}{grants}")
    }
}

/// The heading of the rates.
const RATES: &str = "RATES";

/// Returns the rates of a key as `--rates` takes them, or a dash if it has none of its own.
fn rates(key: &KeyInfo) -> String {
    match key.rates.is_unlimited() {
        true => "-".to_owned(),
        false => key.rates.to_string(),
    }
}
