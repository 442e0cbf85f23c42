//! The WebSocket door of the query side.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::platform::Platform;

/// How long anything may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(20);

/// A connection that speaks `graphql-transport-ws`.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects, and says who is there.
    pub async fn of(platform: &Platform, token: &str) -> Self {
        let url = platform.url().replacen("http", "ws", 1);
        let mut request = format!("{url}/graphql").into_client_request().unwrap();
        let protocol = "graphql-transport-ws".parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let mut socket = Self(connect_async(request).await.unwrap().0);
        let payload = json!({ "authorization": format!("Bearer {token}") });
        socket.say(&json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.next().await["type"], "connection_ack");
        socket
    }

    pub async fn subscribe(&mut self, query: &str, id: &Value, after: &Value) {
        let payload = json!({ "query": query, "variables": { "id": id, "after": after } });
        self.say(&json!({ "type": "subscribe", "id": "1", "payload": payload })).await;
    }

    pub async fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    pub async fn frame(&mut self) -> Message {
        let frame = async {
            loop {
                match self.0.next().await.expect("the socket is open").unwrap() {
                    Message::Ping(_) | Message::Pong(_) => {}
                    frame => return frame,
                }
            }
        };
        timeout(ARRIVAL, frame).await.expect("it arrives in time")
    }

    pub async fn next(&mut self) -> Value {
        serde_json::from_str(self.frame().await.to_text().unwrap()).unwrap()
    }
}
