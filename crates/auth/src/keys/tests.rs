use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::{KeyFile, KeyFileError, KeyStore, NewKey, Parts, generate};
use crate::limits::{KEY_FILE_BYTES, KEY_NAME_BYTES};
use crate::{Action, AuthError, Grant, Grants, IdentityKind, Rates};

const NOW: SystemTime = UNIX_EPOCH;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn grants(text: &str) -> Grants {
    Grants::new(vec![text.parse::<Grant>().unwrap()]).unwrap()
}

/// A folder with a key file that may not exist.
struct Fixture {
    _folder: TempDir,
    path: PathBuf,
    file: KeyFile,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    Fixture {
        file: KeyFile::new(&path),
        path,
        _folder: folder,
    }
}

impl Fixture {
    fn create(&self, name: &str) -> NewKey {
        self.file
            .create(name, grants("read:a/**"), None, at(1))
            .unwrap()
    }

    fn store(&self) -> KeyStore {
        KeyStore::open(&self.path).unwrap()
    }
}

#[test]
fn a_created_key_is_the_identity_with_its_name_and_grants() {
    let it = fixture();
    let key = it
        .file
        .create("billing", grants("read:a/**"), Some(at(100)), at(1))
        .unwrap();
    let identity = it.store().verify(key.token(), at(99)).unwrap();
    assert_eq!(identity.subject(), "billing");
    assert_eq!(identity.expires(), Some(at(100)));
    assert_eq!(
        identity.kind(),
        &IdentityKind::Key {
            id: key.info().id.clone()
        }
    );
    assert!(identity.may(Action::Read, Some("a/b")));
    assert!(!identity.may(Action::Publish, Some("a/b")));
    assert_eq!(it.file.list().unwrap(), [key.info().clone()]);
}

#[test]
fn a_key_has_rates_of_its_own() {
    let it = fixture();
    let rates: Rates = "requests=5,open=2".parse().unwrap();
    let key = it
        .file
        .create_with_rates("a", grants("read:a"), rates, None, at(1))
        .unwrap();
    assert_eq!(key.info().rates, rates);
    let identity = it.store().verify(key.token(), at(2)).unwrap();
    assert_eq!(*identity.rates(), rates);
    let text = fs::read_to_string(&it.path).unwrap();
    assert!(text.contains(r#""rates": "requests=5,open=2""#), "{text}");
    let other = it.create("b");
    assert!(
        it.store()
            .verify(other.token(), at(2))
            .unwrap()
            .rates()
            .is_unlimited()
    );
    // A file with an invalid one isn't read.
    fs::write(&it.path, text.replace("open=2", "open=x")).unwrap();
    let error = it.file.list().unwrap_err().to_string();
    assert!(error.contains("open=x"), "{error}");
}

#[test]
fn a_key_is_refused_for_the_right_reason() {
    let it = fixture();
    let key = it
        .file
        .create("a", grants("read:a"), Some(at(100)), at(1))
        .unwrap();
    let other = it.create("b");
    let store = it.store();
    let check = |token: &str, now| store.verify(token, now).unwrap_err().code();

    let (head, secret) = key.token().rsplit_once('_').unwrap();
    assert_eq!(check(key.token(), at(100)), "expired");
    assert_eq!(
        check(&format!("{head}_{}", "a".repeat(43)), at(1)),
        "bad_signature"
    );
    let unknown = format!("hwk_{}_{secret}", "0".repeat(12));
    assert_eq!(check(&unknown, at(1)), "bad_signature");
    let mixed = format!("hwk_{}_{secret}", other.info().id);
    assert_eq!(check(&mixed, at(1)), "bad_signature");
    for malformed in ["", "hwk_", &key.token()[1..], &format!("{}x", key.token())] {
        assert_eq!(check(malformed, at(1)), "malformed");
    }
}

#[test]
fn a_revoked_key_is_refused_as_revoked_after_a_reload() {
    let it = fixture();
    let key = it.create("a");
    let store = it.store();
    assert!(store.recheck(&key.info().id, NOW).is_ok());

    let revoked = it.file.revoke("a", at(5)).unwrap();
    assert_eq!(revoked.revoked, Some(at(5)));
    assert!(store.reload_if_changed(SystemTime::now()).unwrap());
    assert_eq!(store.verify(key.token(), NOW), Err(AuthError::Revoked));
    assert_eq!(store.recheck(&key.info().id, NOW), Err(AuthError::Revoked));
    assert_eq!(store.recheck("nosuchkey000", NOW), Err(AuthError::Revoked));

    // The first time stays, and the name is free for another key.
    assert_eq!(
        it.file.revoke(&key.info().id, at(9)).unwrap().revoked,
        Some(at(5))
    );
    it.create("a");
    assert_eq!(it.file.list().unwrap().len(), 2);
}

#[test]
fn a_name_in_use_and_an_unknown_key_are_refused() {
    let it = fixture();
    it.create("a");
    let error = it
        .file
        .create("a", grants("read:a"), None, NOW)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("there is a key with the name \"a\""),
        "{error}"
    );
    let error = it.file.revoke("b", NOW).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no key has the id \"b\", and no valid key has that name"),
        "{error}"
    );
    for (name, is_ok) in [
        (String::new(), false),
        ("a\nb".to_owned(), false),
        ("b".repeat(KEY_NAME_BYTES), true),
        ("b".repeat(KEY_NAME_BYTES + 1), false),
    ] {
        let created = it.file.create(&name, Grants::none(), None, NOW);
        assert_eq!(created.is_ok(), is_ok, "{name:?}");
    }
}

#[test]
fn changed_grants_are_in_force_after_a_reload() {
    let it = fixture();
    let key = it.create("a");
    let store = it.store();
    let json = fs::read_to_string(&it.path).unwrap();
    fs::write(&it.path, json.replace("a/**", "b/**")).unwrap();
    assert!(store.reload_if_changed(SystemTime::now()).unwrap());
    let identity = store.recheck(&key.info().id, NOW).unwrap();
    assert!(identity.may(Action::Read, Some("b/x")) && !identity.may(Action::Read, Some("a/x")));
    assert!(!store.reload_if_changed(SystemTime::now()).unwrap());
}

#[test]
fn a_change_of_the_same_size_within_a_tick_of_the_clock_is_noticed() {
    let it = fixture();
    it.create("a");
    let store = it.store();
    for name in ["b", "c", "d", "e", "f"] {
        let json = fs::read_to_string(&it.path).unwrap();
        let place = json.find("\"name\": \"").unwrap() + 9;
        let json = format!("{}{name}{}", &json[..place], &json[place + 1..]);
        fs::write(&it.path, json).unwrap();
        assert!(
            store.reload_if_changed(SystemTime::now()).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn a_settled_file_is_read_once() {
    let it = fixture();
    let key = it.create("a");
    let store = it.store();
    let later = SystemTime::now() + Duration::from_secs(60);
    assert!(!store.reload_if_changed(later).unwrap());
    assert!(!store.reload_if_changed(later).unwrap());
    assert!(store.verify(key.token(), NOW).is_ok());
    it.create("b");
    assert!(store.reload_if_changed(later).unwrap());
}

#[test]
fn a_broken_file_is_reported_once_and_leaves_the_keys_in_force() {
    let it = fixture();
    let key = it.create("a");
    let store = it.store();
    let good = fs::read(&it.path).unwrap();
    for time in [
        SystemTime::now(),
        SystemTime::now() + Duration::from_secs(60),
    ] {
        fs::write(&it.path, "{").unwrap();
        let error = store.reload_if_changed(time).unwrap_err();
        assert!(error.to_string().contains("EOF"), "{error}");
        assert!(!store.reload_if_changed(time).unwrap());
        assert!(store.problem().unwrap().contains("EOF"));
        assert!(store.verify(key.token(), NOW).is_ok());

        fs::write(&it.path, &good).unwrap();
        assert!(!store.reload_if_changed(time).unwrap());
        assert_eq!(store.problem(), None);
    }
    fs::write(&it.path, "{").unwrap();
    assert!(KeyStore::open(&it.path).is_err());
    assert!(it.file.create("b", Grants::none(), None, NOW).is_err());
    assert_eq!(fs::read(&it.path).unwrap(), b"{");
}

#[test]
fn a_file_that_is_missing_for_a_moment_leaves_the_keys_in_force() {
    let it = fixture();
    let (key, other) = (it.create("a"), it.create("b"));
    let store = it.store();
    let good = fs::read(&it.path).unwrap();
    for time in [
        SystemTime::now(),
        SystemTime::now() + Duration::from_secs(60),
    ] {
        fs::remove_file(&it.path).unwrap();
        let error = store.reload_if_changed(time).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("keys.json: the file was there"), "{error}");
        assert!(!store.reload_if_changed(time).unwrap());
        assert!(store.problem().is_some());
        assert!(store.verify(key.token(), NOW).is_ok());

        fs::write(&it.path, &good).unwrap();
        assert!(!store.reload_if_changed(time).unwrap());
        assert_eq!(store.problem(), None);
    }
    fs::remove_file(&it.path).unwrap();
    fs::write(&it.path, r#"{"version":1,"keys":[]}"#).unwrap();
    assert!(store.reload_if_changed(SystemTime::now()).unwrap());
    for key in [key, other] {
        assert_eq!(store.verify(key.token(), NOW), Err(AuthError::BadSignature));
        let recheck = store.recheck(&key.info().id, NOW);
        assert_eq!(recheck, Err(AuthError::Revoked));
    }
}

#[test]
fn a_file_that_doesnt_exist_at_the_start_has_no_keys() {
    let it = fixture();
    assert_eq!(it.file.list().unwrap(), []);
    let store = it.store();
    let key = it.create("a");
    assert!(store.reload_if_changed(SystemTime::now()).unwrap());
    assert!(store.verify(key.token(), NOW).is_ok());
}

#[test]
fn content_that_isnt_known_is_an_error_that_names_it() {
    let it = fixture();
    it.create("a");
    it.create("b");
    let good = fs::read_to_string(&it.path).unwrap();
    for (from, to, part) in [
        (
            "\"name\": \"a\"",
            "\"name\": \"a\", \"hosts\": []",
            "unknown field `hosts`",
        ),
        (
            "\"version\": 1",
            "\"version\": 2",
            "this reads version 1 of the file, and it is 2",
        ),
        (
            "\"version\": 1",
            "\"version\": 1, \"x\": 1",
            "unknown field `x`",
        ),
        ("\"read\"", "\"raed\"", "\"raed\" is not an action"),
        (
            "\"name\": \"b\"",
            "\"name\": \"a\"",
            "key 2 of the file: an earlier one has the same name",
        ),
        (
            "\"hash\": \"",
            "\"hash\": \"0",
            "a hash has 64 hexadecimal digits",
        ),
        (
            "\"hash\": \"",
            "\"hash\": \"é",
            "a hash has 64 hexadecimal digits",
        ),
        (
            "\"id\": \"",
            "\"id\": \"A",
            "key 1 of the file: an id has 12 characters of [a-z0-9]",
        ),
        ("\"created\": 1", "\"created\": 253402300800", "in seconds"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(good, bad, "{from}");
        fs::write(&it.path, bad).unwrap();
        let error = it.file.list().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert!(error.contains("keys.json"), "{error}");
    }
    fs::write(&it.path, " ".repeat(KEY_FILE_BYTES + 1)).unwrap();
    let error = it.file.list().unwrap_err().to_string();
    assert!(error.contains("at most 16777216 bytes"), "{error}");
}

#[test]
fn the_file_is_for_its_owner_alone_and_a_writable_one_is_refused() {
    let it = fixture();
    it.create("a");
    let mode = fs::metadata(&it.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::set_permissions(&it.path, fs::Permissions::from_mode(0o664)).unwrap();
    it.create("b");
    let mode = fs::metadata(&it.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    fs::set_permissions(&it.path, fs::Permissions::from_mode(0o602)).unwrap();
    let error = it.file.list().unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
}

#[test]
fn a_link_is_followed_and_what_a_crash_left_is_replaced() {
    let it = fixture();
    let target = it.path.with_file_name("target.json");
    fs::write(&target, r#"{"version": 1, "keys": []}"#).unwrap();
    fs::write(it.path.with_file_name("target.json.new"), "half").unwrap();
    std::os::unix::fs::symlink(&target, &it.path).unwrap();
    it.create("a");
    assert!(fs::symlink_metadata(&it.path).unwrap().is_symlink());
    assert_eq!(KeyFile::new(&target).list().unwrap().len(), 1);
    assert!(!it.path.with_file_name("target.json.new").exists());
    assert!(it.path.with_file_name("target.json.lock").exists());
    assert!(!it.path.with_file_name("keys.json.lock").exists());
}

#[test]
fn concurrent_changes_are_all_kept() {
    let it = fixture();
    thread::scope(|scope| {
        for thread in 0..4 {
            let it = &it;
            scope.spawn(move || {
                for number in 0..5 {
                    it.create(&format!("{thread}-{number}"));
                }
            });
        }
    });
    assert_eq!(it.file.list().unwrap().len(), 20);
}

#[test]
fn a_lock_that_another_process_holds_ends_the_wait() {
    let it = fixture();
    let held = fs::File::create(it.path.with_file_name("keys.json.lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = it.file.create("a", Grants::none(), None, NOW).unwrap_err();
    assert!(matches!(error, KeyFileError::Locked { .. }), "{error}");
    drop(held);
    assert!(it.file.create("a", Grants::none(), None, NOW).is_ok());
}

#[test]
fn a_folder_that_doesnt_exist_is_named() {
    let it = fixture();
    let path = it.path.join("no/keys.json");
    let error = KeyFile::new(path)
        .create("a", Grants::none(), None, NOW)
        .unwrap_err();
    assert!(matches!(error, KeyFileError::Io { .. }));
    assert!(error.to_string().contains("keys.json/no: "), "{error}");
}

#[test]
fn nothing_printed_contains_a_secret_or_its_hash() {
    let it = fixture();
    let key = it.create("a");
    let (_, secret) = key.token().rsplit_once('_').unwrap();
    let store = it.store();
    let identity = store.verify(key.token(), NOW).unwrap();
    let printed = format!(
        "{key:?} {:?} {store:?} {identity:?} {:?}",
        it.file,
        it.file.list()
    );
    assert!(!printed.contains(secret));
    let json = fs::read_to_string(&it.path).unwrap();
    assert!(!json.contains(secret));
    let place = json.find("\"hash\": \"").unwrap() + 9;
    assert!(!printed.contains(&json[place..place + 64]));
}

#[test]
fn only_text_of_the_exact_form_is_a_key() {
    let (id, secret) = generate().unwrap();
    let key = format!("hwk_{id}_{secret}");
    let parts = Parts::of(&key).unwrap();
    assert_eq!((parts.id, parts.secret), (&*id, &*secret));
    for bad in [
        String::new(),
        format!("HWK_{id}_{secret}"),
        format!("hwk_{id}{secret}"),
        format!("hwk_{id}_{secret}a"),
        format!("hwk_{id}_{secret} "),
        format!("hwk_{}_{secret}", id.to_uppercase() + "A"),
        format!("hwk_{id}_{}", &secret[1..]),
        format!("hwk_{id}_{}_", &secret[1..]),
    ] {
        assert!(Parts::of(&bad).is_none(), "{bad}");
    }
}

#[test]
fn a_pipe_in_the_place_of_the_file_is_an_error_and_a_later_file_is_read() {
    let it = fixture();
    let key = it.create("a");
    let store = it.store();
    let aside = it.path.with_extension("aside");
    fs::rename(&it.path, &aside).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &it.path, mode).unwrap();
    let error = store.reload_if_changed(NOW).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    assert!(
        store.verify(key.token(), NOW).is_ok(),
        "the keys stay in force"
    );
    assert!(it.file.list().is_err());

    fs::rename(&aside, &it.path).unwrap();
    it.file.revoke("a", NOW).unwrap();
    assert!(store.reload_if_changed(NOW).unwrap());
    assert!(store.verify(key.token(), NOW).is_err());
}
