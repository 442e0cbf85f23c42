//! Certificates that are replaced while the server goes on.

use std::fs;
use std::time::Duration;

use event_store::grpc::ServeOptions;
use event_store::tls::MadeCertificates;
use eventstore::{
    AppendToStreamOptions, Client, ReadAllOptions, StreamPosition, SubscribeToStreamOptions,
};
use tempfile::TempDir;

use super::secured::{ADMIN, Secured, client, one};

const PATIENCE: Duration = Duration::from_secs(30);

async fn can_read(client: &Client) -> bool {
    match client.read_all(&ReadAllOptions::default()).await {
        Ok(mut read) => read.next().await.is_ok(),
        Err(_) => false,
    }
}

/// Given a certificate of another root in the place of the one that the server has, then who
/// connects from then on is shown that, and who is connected already stays so.
#[tokio::test]
async fn who_connects_is_shown_what_is_there_by_then() {
    let renewal_interval = Duration::from_millis(20);
    let options = ServeOptions { renewal_interval, ..ServeOptions::default() };
    let secured = Secured::start_with(options).await;
    let connected = secured.client(ADMIN);
    let from = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
    let mut followed = connected.subscribe_to_stream("a", &from).await;
    let append = AppendToStreamOptions::default();
    connected.append_to_stream("a", &append, one()).await.expect("append");
    followed.next().await.expect("an event");

    let folder = TempDir::new().expect("folder");
    let other = MadeCertificates::in_folder(folder.path(), &[]).expect("made");
    let old = secured.uri(ADMIN);
    let new = old.replace(&*secured.made.root().to_string_lossy(), &other.root().to_string_lossy())
        + "&discoveryInterval=20";
    assert!(!can_read(&client(&new)).await, "it is not there yet");
    fs::copy(other.node(), secured.made.node()).expect("copy");
    fs::copy(other.node_key(), secured.made.node_key()).expect("copy");
    let renewed = async { while !can_read(&client(&new)).await {} };
    tokio::time::timeout(PATIENCE, renewed).await.expect("it is renewed");
    assert!(!can_read(&client(&(old + "&discoveryInterval=20"))).await, "that root is gone");

    client(&new).append_to_stream("a", &append, one()).await.expect("append");
    let next = tokio::time::timeout(PATIENCE, followed.next()).await.expect("an event in time");
    assert_eq!(next.expect("an event").get_original_event().revision, 1);
}
