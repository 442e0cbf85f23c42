//! Backups of a running platform, put back into the folder of another.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use super::{Said, busy_platform, models, put_keys_back, replay};
use crate::platform::Platform;

/// Events of a folder, of which no platform need know.
async fn events(data: &Path) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    command.args(["--json", "events", "--data"]).arg(data);
    Said::by(command).await.documents()
}

async fn ends_with(platform: &Platform, args: &[&str], code: i32, words: &str) {
    let said = replay(platform, args).await;
    assert_eq!(said.code, Some(code), "{args:?}: {said:?}");
    assert!(format!("{}{}", said.out, said.err).contains(words), "{args:?}: {said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_running_platform_is_put_back_up_to_any_moment() {
    let (platform, crowd) = busy_platform().await;
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let (first, second) = (path("first"), path("second"));
    // While commands flow.
    let made = replay(&platform, &["backup", "--to", &first]).await.documents().remove(0);
    let head = made["head"].as_str().unwrap().to_owned();
    crowd.pause().await;
    models::at_rest(&platform).await;
    let more = replay(&platform, &["backup", "--to", &second, "--since", &first]).await;
    let more = more.documents().remove(0);
    assert!(more["segments"].as_u64() >= made["segments"].as_u64());
    let looked = replay(&platform, &["inspect"]).await;
    assert_eq!(looked.code, Some(0), "beside the running platform: {looked:?}");

    let restored = path("restored");
    let to = format!("{restored}/events");
    let all = replay(&platform, &["events"]).await.documents();
    let put = replay(&platform, &["restore", "--from", &second, "--to", &to]).await.documents();
    assert_eq!(put[0]["chain"], more["chain"]);
    put_keys_back(&platform, &restored);
    assert_eq!(events(Path::new(&restored)).await, all);
    let verified = Command::new(env!("CARGO_BIN_EXE_veza-replay"))
        .args(["verify", "--head", made["chain"].as_str().unwrap(), "--data", &restored])
        .output()
        .await
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");

    // Up to the head of the first backup, out of the second.
    let earlier = path("earlier");
    let to = format!("{earlier}/events");
    let args = ["restore", "--from", &second, "--to", &to, "--until", &head];
    assert_eq!(replay(&platform, &args).await.documents()[0]["chain"], made["chain"]);
    put_keys_back(&platform, &earlier);
    let kept = events(Path::new(&earlier)).await;
    assert_eq!(kept, all[..kept.len()]);

    let closed = "esdb://127.0.0.1:1?tls=false";
    let nowhere = path("nowhere");
    let empty = path("empty");
    ends_with(&platform, &["backup", "--to", &first], 2, "is in the folder").await;
    ends_with(&platform, &["backup"], 2, "--to").await;
    ends_with(&platform, &["backup", "--to", &empty, "--store", closed], 3, "can't reach").await;
    let args = ["restore", "--from", &nowhere, "--to", &empty];
    ends_with(&platform, &args, 2, "there is no backup").await;
    let args = ["restore", "--from", &restored, "--to", &empty];
    ends_with(&platform, &args, 2, "there is no backup").await;
    let args = ["restore", "--from", &first, "--to", &empty, "--until", "999999999"];
    ends_with(&platform, &args, 2, "the backup ends at position").await;
    ends_with(&platform, &["inspect", &nowhere], 2, "there is no folder").await;
    ends_with(&platform, &["give-up", "foo"], 2, "invalid value 'foo'").await;

    leaves_what_it_reads(&platform, root.path(), &first).await;
    ends_anywhere(&platform, root.path(), &first, &head).await;

    tells_damage(&platform, root.path(), &first).await;
    platform.stop().await;
}

/// That a backup is looked at, and what is damaged of it is told.
async fn tells_damage(platform: &Platform, root: &Path, first: &str) {
    let empty = root.join("empty").to_str().unwrap().to_owned();
    ends_with(platform, &["inspect", first], 0, "it is a backup").await;
    let manifest = Path::new(first).join("BACKUP");
    let whole = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, &whole[1..]).unwrap();
    ends_with(platform, &["inspect", first], 1, "the backup is damaged: BACKUP: ").await;
    std::fs::write(&manifest, whole).unwrap();

    let segment = Path::new(first).join("00000000000000000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let args = ["restore", "--from", first, "--to", &empty];
    ends_with(platform, &args, 1, "00000000000000000001.log").await;
    ends_with(platform, &["inspect", first], 1, "00000000000000000001.log").await;
    ends_with(platform, &["inspect", &empty], 1, "was not finished").await;
}

/// That no folder that is read is filled, nor one inside of it, nor one with something in it.
async fn leaves_what_it_reads(platform: &Platform, root: &Path, first: &str) {
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let empty = path("empty");
    // Folders that are read are not filled, nor is anything inside of them.
    let data = platform.data().to_str().unwrap();
    let link = path("link");
    std::os::unix::fs::symlink(data, &link).unwrap();
    for to in ["/events", "/events/backup", "/events/1/../backup"] {
        for data in [data, &link] {
            let to = format!("{data}{to}");
            ends_with(platform, &["backup", "--to", &to], 2, "name a folder apart").await;
            assert!(!Path::new(data).join("events/backup").exists());
        }
    }
    let inside = format!("{first}/inside");
    let args = ["restore", "--from", first, "--to", &inside];
    ends_with(platform, &args, 2, "name a folder apart").await;
    let args = ["backup", "--to", &inside, "--since", first];
    ends_with(platform, &args, 2, "name a folder apart").await;
    // A store's own folder, and one with something in it, stay as they are.
    let running = format!("{data}/events");
    let args = ["restore", "--from", first, "--to", &running];
    ends_with(platform, &args, 2, "is in the folder").await;
    ends_with(platform, &["restore", "--from", first, "--to", data], 2, "is in the folder").await;
    assert!(!platform.data().join("LOCK").exists());
    let file = path("file");
    std::fs::write(&file, "a file").unwrap();
    ends_with(platform, &["backup", "--to", &file], 1, "can't use the folder").await;
    let none = format!("there is no backup in {file}");
    ends_with(platform, &["restore", "--from", &file, "--to", &empty], 2, &none).await;
    ends_with(platform, &["backup", "--to", &empty, "--since", &file], 2, &none).await;
    ends_with(platform, &["inspect", &file], 2, "there is no folder").await;
}

/// That a backup with this head is put back up to moments before and after all of it.
async fn ends_anywhere(platform: &Platform, root: &Path, first: &str, head: &str) {
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    // Before the first event there is a log without events; later than the backup, all of it.
    let (none, later) = (path("none"), path("later"));
    let to = format!("{none}/events");
    let args = ["restore", "--from", first, "--to", &to, "--until", "2001-01-31T12:00:00Z"];
    assert_eq!(replay(platform, &args).await.documents()[0]["head"], "0");
    assert!(events(Path::new(&none)).await.is_empty());
    let to = format!("{later}/events");
    let restore = ["restore", "--from", first, "--to", &to, "--until", "2999-01-31T12:00:00Z"];
    let said = Said::by(platform.replay_command(&restore)).await;
    assert!(said.code == Some(0) && said.out.contains("(the backup was made at "), "{said:?}");
    assert_eq!(events(Path::new(&later)).await.len().to_string(), head);
}
