//! Backups of encrypted logs: they are as encrypted as the log was, and are put back with its keys.

use bytes::Bytes;
use event_store::log::KeyError;
use event_store::{ContentType, EventId, EventType, NewEvent};
use uuid::Uuid;

use super::*;
use crate::simulated::options;

pub fn files(disk: &SimDisk, ending: &str) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.ends_with(ending)).collect()
}

/// Whether the segment says that its records are encrypted.
pub fn is_encrypted(disk: &SimDisk, name: &str) -> bool {
    disk.contents(name).unwrap()[72] & 1 == 1
}

async fn locked_log() -> (SimDisk, EmbeddedStore, Vec<RecordedEvent>) {
    log_on(new_disk(true).await).await
}

fn wrapping(text: &str) -> Option<Arc<WrappingKeys>> {
    Some(Arc::new(WrappingKeys::from_text(text).unwrap()))
}

/// Given words in every part of events, when their log is backed up, and put back as a whole and up
/// to any position, then no file has any of them.
#[tokio::test]
async fn no_backup_and_nothing_put_back_shows_a_word_of_an_encrypted_log() {
    const WORDS: [&str; 4] = ["canary-stream", "CanaryType", "canary-data", "canary-metadata"];
    let shows = |disk: &SimDisk| {
        let contents = disk.list().unwrap().into_iter().map(|name| disk.contents(&name).unwrap());
        let all = contents.collect::<Vec<_>>().concat();
        WORDS.map(|word| all.windows(word.len()).any(|part| part == word.as_bytes()))
    };
    for encrypted in [false, true] {
        let disk = new_disk(encrypted).await;
        let store = open(&disk).await.unwrap();
        for number in 0..20 {
            let new = |_| NewEvent {
                id: EventId(Uuid::new_v4()),
                event_type: EventType::new(WORDS[1]).unwrap(),
                content_type: ContentType::Binary,
                data: Bytes::from(WORDS[2]),
                metadata: Bytes::from(WORDS[3]),
            };
            let name = stream(&format!("{}-{}", WORDS[0], number % 3));
            let events = (0..number % 4 + 1).map(new).collect();
            store.append(&name, ExpectedRevision::Any, events).await.unwrap();
        }
        let all = everything(&store).await.unwrap();
        let backup = SimDisk::new();
        back_up_to(&disk, store.head().await.unwrap(), &backup, None).unwrap();
        assert_eq!(shows(&backup), [!encrypted; 4]);
        for position in 1..=all.len() as u64 {
            let to = SimDisk::new();
            let until = Some(AsOf::Position(Position::new(position)));
            let restored = put_back(&backup, &to, until).unwrap();
            if restored.head.position > Position::START {
                assert_eq!(shows(&to), [!encrypted; 4], "{position}");
            }
        }
        let to = SimDisk::new();
        is_log_of(&to, &put_back(&backup, &to, None).unwrap(), &all).await;
    }
}

/// Given no key, another one or one that is missing, then neither a backup is made nor a log put
/// back; one line says why, and with the right key it is done after all.
#[tokio::test]
async fn without_the_right_key_there_is_no_backup_and_no_restore() {
    let (disk, store, all) = locked_log().await;
    let backup = SimDisk::new();
    back_up_to(&disk, store.head().await.unwrap(), &backup, None).unwrap();
    let another = format!("key:{}", "08".repeat(32));
    let other_name = format!("other:{}", "07".repeat(32));
    let to = SimDisk::new();
    for (keys, words) in [
        (None, "is encrypted, and no key was given"),
        (wrapping(&another), "is not opened by the key key"),
        (wrapping(&other_name), "is wrapped by the key key, which is not among those given: other"),
    ] {
        let backed_up = Originals::open(&disk, keys.clone()).err().expect("it is refused");
        let put_back = restore(&backup, &to, keys, None, &mut |_| {}).unwrap_err();
        for refused in [backed_up, put_back] {
            assert!(matches!(refused, BackupError::Key(_)), "{refused:?}");
            let said = refused.to_string();
            assert!(said.contains(words) && said.lines().count() == 1, "{said}");
        }
        assert!(to.list().unwrap().is_empty(), "nothing is begun");
    }
    is_log_of(&to, &put_back(&backup, &to, None).unwrap(), &all).await;

    let key = files(&disk, ".key").remove(0);
    for from in [&disk, &backup] {
        from.remove(&key).unwrap();
    }
    let refused = Originals::open(&disk, given_keys()).err().expect("it is refused");
    assert!(matches!(&refused, BackupError::Key(KeyError::Missing { .. })), "{refused}");
    assert!(refused.to_string().contains(&key), "{refused}");
    let refused = put_back(&backup, &SimDisk::new(), None).unwrap_err();
    assert!(matches!(&refused, BackupError::Damaged { file, .. } if *file == key), "{refused}");
}

/// Given a backup, when the wrapping key is changed, then the backup still needs the old one; the
/// next shares its segments all the same, and needs the new one only.
#[tokio::test]
async fn a_backup_is_wrapped_as_the_log_was() {
    let (disk, store, all) = locked_log().await;
    let (first, second) = (SimDisk::new(), SimDisk::new());
    let head = store.head().await.unwrap();
    back_up_to(&disk, head, &first, None).unwrap();
    let old = format!("key:{}", "07".repeat(32));
    let new = format!("new:{}", "09".repeat(32));
    let both = WrappingKeys::from_text(&format!("{new}\n{old}")).unwrap();
    store.rotate_keys(both).await.unwrap();
    let originals = Originals::open(&disk, wrapping(&new)).unwrap();
    let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let backup = Backup { originals: &originals, head, to: &second, since: Some(&first), now };
    back_up(&backup, &mut |_| {}).unwrap();
    for (backup, opens, refuses) in [(&first, &old, &new), (&second, &new, &old)] {
        let to = SimDisk::new();
        restore(backup, &to, wrapping(refuses), None, &mut |_| {}).unwrap_err();
        assert!(to.list().unwrap().is_empty(), "nothing is begun");
        restore(backup, &to, wrapping(opens), None, &mut |_| {}).unwrap();
        let opened = options(&to).decryption(WrappingKeys::from_text(opens).unwrap());
        let store = EmbeddedStore::open(opened).await.unwrap();
        assert_eq!(everything(&store).await.unwrap(), all);
    }
}

/// Given an empty segment that another one takes the place of, with another key, while a backup
/// begins, then that is noticed.
#[tokio::test]
async fn an_empty_segment_that_is_replaced_meanwhile_is_noticed() {
    let disk = new_disk(true).await;
    let store = open(&disk).await.unwrap();
    let originals = Originals::open(&disk, given_keys()).unwrap();
    append(&store, "track-1", 0..1).await;
    let head = store.head().await.unwrap();
    assert!(!originals.reach(&disk, head).unwrap());
    let backup = SimDisk::new();
    assert_eq!(back_up_to(&disk, head, &backup, None).unwrap().head, store.audit_head());
}
