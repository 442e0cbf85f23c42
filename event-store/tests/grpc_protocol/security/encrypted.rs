//! TLS, seen by the official client: with whom one speaks, and on whose behalf.

use std::fs;
use std::time::Duration;

use event_store::grpc::ServeOptions;
use event_store::{ClientStore, EventStore, ReadError, StoreError};
use eventstore::{AppendToStreamOptions, Client, Credentials, Error, ReadAllOptions};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::secured::{ADMIN, Secured, client, one};
use crate::server::stream;

const PATIENCE: Duration = Duration::from_secs(30);

async fn read_all(client: &Client) -> eventstore::Result<()> {
    client.read_all(&ReadAllOptions::default()).await?.next().await.map(drop)
}

#[tokio::test]
async fn who_has_logged_in_is_served_and_others_are_not() {
    let secured = Secured::start().await;
    read_all(&secured.client(ADMIN)).await.expect("an administrator reads the log");
    for credentials in ["", "admin:wrong@", "nobody:changeit@", "ops:changeit@", "ann:@"] {
        let read = read_all(&secured.client(credentials)).await;
        assert!(matches!(read, Err(Error::AccessDenied)), "{credentials} {read:?}");
        let options = AppendToStreamOptions::default();
        let appended = secured.client(credentials).append_to_stream("a", &options, one()).await;
        match credentials {
            "ops:changeit@" => assert!(appended.is_ok(), "{appended:?}"),
            _ => assert!(matches!(appended, Err(Error::AccessDenied)), "{appended:?}"),
        }
    }
    // What a call itself says goes before what its client says.
    let client = secured.client("admin:wrong@");
    let right = ReadAllOptions::default().authenticated(Credentials::new("admin", "changeit"));
    client.read_all(&right).await.expect("the call is an administrator's");
}

#[tokio::test]
async fn a_server_of_another_root_is_not_spoken_to() {
    let (secured, other) = (Secured::start().await, Secured::start().await);
    let uri = secured
        .uri(ADMIN)
        .replace(&*secured.made.root().to_string_lossy(), &other.made.root().to_string_lossy());
    let read = read_all(&client(&uri)).await;
    assert!(matches!(read, Err(Error::GrpcConnectionError(_))), "{read:?}");
    let plain = format!("esdb://{}?tls=false&discoveryInterval=20", secured.server.address());
    assert!(read_all(&client(&plain)).await.is_err(), "it does not speak in the clear");
}

/// Given connections that never agree on TLS, then others are accepted meanwhile, and they end.
#[tokio::test]
async fn who_is_silent_holds_nobody_up_and_is_let_go() {
    let first_call_time_max = Duration::from_secs(1);
    let options = ServeOptions { first_call_time_max, ..ServeOptions::default() };
    let secured = Secured::start_with(options).await;
    let mut silent = TcpStream::connect(secured.server.address()).await.expect("connect");
    read_all(&secured.client(ADMIN)).await.expect("others are served");
    let mut nothing = [0];
    let ended = tokio::time::timeout(PATIENCE, silent.read(&mut nothing)).await;
    assert!(matches!(ended.expect("it is let go"), Ok(0) | Err(_)));
}

/// A certificate of the server's root about this name, with a key, in the folder of the root.
fn certificate_of(secured: &Secured, name: &str, usages: Vec<ExtendedKeyUsagePurpose>) -> String {
    let key = fs::read_to_string(secured.made.root_key()).expect("the root's key");
    let root = fs::read_to_string(secured.made.root()).expect("the root");
    let issuer = Issuer::from_ca_cert_pem(&root, KeyPair::from_pem(&key).expect("key"));
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::NoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages;
    let key = KeyPair::generate().expect("key");
    let certificate = params.signed_by(&key, &issuer.expect("root")).expect("certificate");
    let [public, private] =
        ["crt", "key"].map(|it| secured.made.root().with_file_name(format!("user.{it}")));
    fs::write(&public, certificate.pem()).expect("write");
    fs::write(&private, key.serialize_pem()).expect("write");
    format!("&userCertFile={}&userKeyFile={}", public.display(), private.display())
}

#[tokio::test]
async fn a_certificate_says_who_its_user_is() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let secured = Secured::start().await;
    let admin = certificate_of(&secured, "admin", vec![ClientAuth]);
    let uri = secured.uri("") + &admin;
    read_all(&client(&uri)).await.expect("the certificate is the administrator's");
    // What a call says goes before it.
    let read = read_all(&client(&(secured.uri("admin:wrong@") + &admin))).await;
    assert!(matches!(read, Err(Error::AccessDenied)), "{read:?}");
    for (name, usages) in [
        ("ops", vec![ClientAuth]),
        ("nobody", vec![ClientAuth]),
        ("admin", vec![ClientAuth, ServerAuth]),
    ] {
        let certificate = certificate_of(&secured, name, usages);
        let read = read_all(&client(&(secured.uri("") + &certificate))).await;
        assert!(matches!(read, Err(Error::AccessDenied)), "{name} {read:?}");
        // Clients ask what the server can do with nothing but the certificate.
        let uri = secured.uri(ADMIN) + &certificate;
        read_all(&client(&uri)).await.expect("what a call says goes before it");
    }
    // One of another root is not taken at all.
    let other = Secured::start().await;
    let uri = secured.uri("") + &certificate_of(&other, "admin", vec![ClientAuth]);
    assert!(read_all(&client(&uri)).await.is_err());
}

/// The port's adapter tells what is refused as the port does.
#[tokio::test]
async fn the_adapter_says_who_it_is() {
    let secured = Secured::start().await;
    secured.user("ann", &[]).await;
    let store = |credentials| ClientStore::new(&secured.uri(credentials)).expect("a store");
    let (name, any) = (stream("tale-1"), event_store::ExpectedRevision::Any);
    let events = || vec![crate::server::event(1)];
    store("ann:ann@").append(&name, any, events()).await.expect("a stream of a user");
    assert!(store("ann:ann@").last_event(&name).await.expect("read").is_some());
    let denied = store("ann:ann@").append(&stream("$x"), any, events()).await;
    let denied = denied.map_err(|error| error.to_string());
    assert_eq!(denied, Err(StoreError::AccessDenied.to_string()));
    let read = store("ann:wrong@").last_event(&name).await;
    assert!(matches!(read, Err(ReadError::Store(StoreError::AccessDenied))), "{read:?}");
}
