//! Permissions: only the owner can read messages and keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use headwater_log::Log as _;

use crate::support::{append, name, open, plain, quick_folder, run};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_folder_is_readable_by_its_owner_alone() {
    let outside = quick_folder();
    let folder = outside.path().join("a/b");
    run(async {
        let log = open(&folder).unwrap();
        let stream = name("s");
        log.create(&stream, plain()).await.unwrap();
        append(&log, &stream, &["secret"]).await;
        log.close().await.unwrap();
    });
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("log")), 0o700);
    assert_eq!(mode(&folder.join("log/commits")), 0o600);
    assert_eq!(mode(&folder.join("lock")), 0o600);
}

#[test]
fn an_existing_folder_keeps_its_permissions_and_hides_its_contents() {
    let outside = quick_folder();
    let folder = outside.path().join("data");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    run(async {
        open(&folder).unwrap().close().await.unwrap();
    });
    assert_eq!(mode(&folder), 0o755);
    assert_eq!(mode(&folder.join("log")), 0o700);
    assert_eq!(mode(&folder.join("log/commits")), 0o600);
}
