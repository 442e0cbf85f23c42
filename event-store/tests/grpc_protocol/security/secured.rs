//! A server with users and TLS, and the official client on behalf of somebody.

use std::ffi::OsString;
use std::sync::Arc;

use event_store::grpc::ServeOptions;
use event_store::tls::MadeCertificates;
use event_store::users::{DefaultPasswords, Login, Password};
use event_store::{EmbeddedOptions, EmbeddedStore, EventStore, Users};
use eventstore::{Client, EventData};
use tempfile::TempDir;

use crate::server::{Server, offered};

/// Who may do everything.
pub const ADMIN: &str = "admin:changeit@";

/// A server, its certificates and its users.
pub struct Secured {
    pub server: Server,
    pub made: MadeCertificates,
    pub users: Users,
}

impl Secured {
    pub async fn start() -> Self {
        Self::start_with(ServeOptions::default()).await
    }

    /// The same, which otherwise serves in this manner.
    pub async fn start_with(options: ServeOptions) -> Self {
        let folder = TempDir::new().expect("folder");
        let kept = EmbeddedOptions::folder(folder.path().join("events"));
        let store: Arc<dyn EventStore> = Arc::new(EmbeddedStore::open(kept).await.expect("store"));
        let users = Users::new(Arc::clone(&store));
        let passwords = DefaultPasswords::new(None, None).expect("passwords");
        users.make_defaults(passwords).await.expect("users");
        let made = MadeCertificates::in_folder(&folder.path().join("tls"), &[]).expect("made");
        let options = ServeOptions {
            users: Some(users.clone()),
            tls: Some(made.tls(None).expect("TLS")),
            ..options
        };
        let mut server = Server::serving(store, "127.0.0.1:0", options).await;
        server.folder = Some(folder);
        Self { server, made, users }
    }

    /// What stories are told: the address and the file of the root.
    pub fn arguments(&self) -> Vec<OsString> {
        vec![self.server.address().into(), self.made.root().into()]
    }

    /// A connection string with these credentials, `name:password@` or nothing.
    pub fn uri(&self, credentials: &str) -> String {
        let (address, root) = (self.server.address(), self.made.root());
        format!("esdb://{credentials}{address}?tls=true&tlsCaFile={}", root.display())
    }

    /// The official client on behalf of somebody.
    pub fn client(&self, credentials: &str) -> Client {
        client(&self.uri(credentials))
    }

    /// Makes a user with this name and password in these groups, and the client that they use.
    pub async fn user(&self, name: &str, groups: &[&str]) -> Client {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let login = Login::new(name).expect("login");
        let password = Password::chosen(name).expect("password");
        self.users.create(&login, "Somebody", &groups, password).await.expect("created");
        self.client(&format!("{name}:{name}@"))
    }
}

/// The official client with this connection string.
pub fn client(uri: &str) -> Client {
    Client::new(uri.parse().expect("settings")).expect("client")
}

/// An event, to be appended.
pub fn one() -> Vec<EventData> {
    offered("Told", 1)
}
