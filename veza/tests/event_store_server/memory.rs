//! What the process keeps of the memory that large messages took.

use std::fs;

use bytes::Bytes;
use eventstore::{AppendToStreamOptions, Client, EventData, ReadStreamOptions};
use tokio::process::Child;
use tokio::task::JoinSet;

use crate::{PATIENCE, start};

const LARGE: usize = 8 * 1000 * 1000;
const EVENTS: usize = 3;
const READERS: usize = 6;
/// How much more it may have than at its start, in kilobytes: less than one reader got.
const KEPT_MAX: u64 = 40_000;

/// Given readers of large events, when they have gone, then what their messages took is given back.
#[tokio::test(flavor = "multi_thread")]
async fn what_large_messages_took_is_given_back() {
    let data = tempfile::tempdir().unwrap();
    let (server, address) = start(&data).await;
    let before = anonymous_kilobytes(&server);
    let client = Client::new(address.parse().unwrap()).unwrap();
    for _ in 0..EVENTS {
        let event = EventData::binary("Recorded", Bytes::from(vec![7; LARGE]));
        let options = AppendToStreamOptions::default();
        client.append_to_stream("takes", &options, event).await.unwrap();
    }
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let client = Client::new(address.parse().unwrap()).unwrap();
        readers.spawn(async move {
            let options = ReadStreamOptions::default().max_count(EVENTS);
            let mut read = client.read_stream("takes", &options).await.unwrap();
            let mut bytes = 0;
            while let Some(event) = read.next().await.unwrap() {
                bytes += event.get_original_event().data.len();
            }
            assert_eq!(bytes, EVENTS * LARGE);
        });
    }
    readers.join_all().await;
    let kept = async {
        while anonymous_kilobytes(&server).saturating_sub(before) > KEPT_MAX {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await; // poll
        }
    };
    let is_given_back = tokio::time::timeout(PATIENCE, kept).await.is_ok();
    assert!(is_given_back, "{before} kB before, {} kB now", anonymous_kilobytes(&server));
}

/// The memory of the process that is no file's.
fn anonymous_kilobytes(server: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
